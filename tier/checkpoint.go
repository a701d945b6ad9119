package tier

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/rustmq/rustmq/mq"
)

// A copy of the cluster's metadata in the object store, out of which a cluster is built anew. It is opaque here. All numbers are big-endian.
//
//	PREFIX meta/INDEX (16 hex digits)-RANDOM/NUMBER (6).part   bytes of the copy, one part after the other
//	PREFIX meta/INDEX-RANDOM/manifest                          written last: without it there is no checkpoint
//
//	manifest   0  "RMQCKPT\n"
//	           8  u16 version 1   10 u16 flags 0
//	          12  16 bytes cluster id
//	          28  i32 node that wrote it
//	          32  u64 index   40 u64 term: of the last command in it
//	          48  i64 time of writing, milliseconds since 1970
//	          56  u32 number of parts
//	          60  parts (12 each): u64 bytes, u32 crc
//	              u32 crc of the manifest so far
const (
	checkpointMagic   = "RMQCKPT\n"
	checkpointVersion = 1
	manifestFixed     = 60
	manifestName      = "manifest"
	partSuffix        = ".part"
	// checkpointPartBytes is the size of a part, but for the last: one is in memory at a time.
	checkpointPartBytes = 8 << 20
	// maxManifestBytes bounds what is believed of a manifest: of a terabyte of metadata.
	maxManifestBytes = 2 << 20
)

// Checkpoint is a copy of the metadata in the object store.
type Checkpoint struct {
	Key         string // of its manifest
	Cluster     mq.ClusterID
	Node        mq.NodeID // that wrote it
	Index, Term uint64    // of the last command in it
	Written     int64     // milliseconds since 1970, by the writer's clock
	Parts       []CheckpointPart

	listed []string // keys of its parts, as far as ListCheckpoints saw them
}

// CheckpointPart is a piece of it, an object of its own.
type CheckpointPart struct {
	Bytes int64
	CRC   uint32 // CRC-32C
}

// Bytes is the size of the copy.
func (c *Checkpoint) Bytes() (n int64) {
	for _, p := range c.Parts {
		n += p.Bytes
	}
	return n
}

func (c *Checkpoint) encode() []byte {
	b := append([]byte(nil), checkpointMagic...)
	b = binary.BigEndian.AppendUint16(b, checkpointVersion)
	b = binary.BigEndian.AppendUint16(b, 0) // flags
	b = append(b, c.Cluster[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(c.Node))
	b = binary.BigEndian.AppendUint64(b, c.Index)
	b = binary.BigEndian.AppendUint64(b, c.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Written))
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.Parts)))
	for _, p := range c.Parts {
		b = binary.BigEndian.AppendUint64(b, uint64(p.Bytes))
		b = binary.BigEndian.AppendUint32(b, p.CRC)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeCheckpoint(b []byte) (*Checkpoint, error) {
	if len(b) < manifestFixed+4 || string(b[:8]) != checkpointMagic {
		return nil, corrupt("%d bytes are no manifest of a checkpoint", len(b))
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if version, flags := binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:]); version != checkpointVersion || flags != 0 {
		return nil, mq.Errorf(mq.UnsupportedVersion, "a checkpoint of version %d with flags %x: this program knows version %d", version, flags, checkpointVersion)
	}
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, corrupt("the manifest has CRC32C %08x, and says %08x", got, sum)
	}
	parts := body[manifestFixed:]
	if n := binary.BigEndian.Uint32(b[56:]); uint64(len(parts)) != 12*uint64(n) {
		return nil, corrupt("the manifest says %d parts, and has %d bytes of them", n, len(parts))
	}
	c := &Checkpoint{
		Cluster: mq.ClusterID(b[12:28]), Node: mq.NodeID(binary.BigEndian.Uint32(b[28:])), Index: binary.BigEndian.Uint64(b[32:]),
		Term: binary.BigEndian.Uint64(b[40:]), Written: int64(binary.BigEndian.Uint64(b[48:])),
	}
	for ; len(parts) > 0; parts = parts[12:] {
		p := CheckpointPart{Bytes: int64(binary.BigEndian.Uint64(parts)), CRC: binary.BigEndian.Uint32(parts[8:])}
		if p.Bytes <= 0 || p.Bytes > checkpointPartBytes {
			return nil, corrupt("the manifest has a part of %d bytes", p.Bytes)
		}
		c.Parts = append(c.Parts, p)
	}
	return c, nil
}

func checkpointDir(prefix string) string { return prefix + "meta/" }

func (c *Checkpoint) part(i int) string {
	return path.Dir(c.Key) + "/" + fmt.Sprintf("%06d", i) + partSuffix
}

// WriteCheckpoint brings a copy of the metadata, which body gives, into the object store, and verifies it. c says whose it is and what is in it, and gets its key and
// parts. When it returns without an error the checkpoint is there for good; after an error it may be, too, or parts of it are, which [TrimCheckpoints] deletes.
func WriteCheckpoint(ctx context.Context, store *Store, prefix string, c *Checkpoint, body io.Reader) error {
	c.Key = fmt.Sprintf("%s%016x-%s/%s", checkpointDir(prefix), c.Index, strings.ToLower(rand.Text()[:13]), manifestName)
	c.Parts = nil
	buf := make([]byte, checkpointPartBytes)
	for {
		n, err := io.ReadFull(body, buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return mq.Wrapf(err, "read the metadata for a checkpoint")
		}
		if n > 0 {
			p := CheckpointPart{Bytes: int64(n), CRC: crc32.Checksum(buf[:n], castagnoli)}
			if err := putSome(ctx, store, c.part(len(c.Parts)), buf[:n], p.CRC); err != nil {
				return err
			}
			c.Parts = append(c.Parts, p)
		}
		if err != nil {
			break
		}
	}
	manifest := c.encode()
	return putSome(ctx, store, c.Key, manifest, crc32.Checksum(manifest, castagnoli))
}

// putSome is Put, tried a few times.
func putSome(ctx context.Context, store *Store, key string, data []byte, crc uint32) error {
	return fewTries(ctx, func() error { return store.Put(ctx, key, data, crc) })
}

// ListCheckpoints gives the checkpoints under a cluster's prefix that have a manifest, the newest last. What they say of themselves is not read: of the exported fields only Key and Index
// are there. rest are the keys of what belongs to none of them, with the index that each is of.
func ListCheckpoints(ctx context.Context, store *Store, prefix string) (found []*Checkpoint, rest map[string]uint64, err error) {
	dirs := make(map[string]*Checkpoint) // with a manifest or without
	err = store.List(ctx, checkpointDir(prefix), func(o Info) error {
		dir, name := path.Split(o.Key)
		digits, _, _ := strings.Cut(path.Base(dir), "-")
		index, notOurs := strconv.ParseUint(digits, 16, 64)
		if notOurs != nil {
			return nil //nolint:nilerr // it is left alone
		}
		c := dirs[dir]
		if c == nil {
			c = &Checkpoint{Index: index}
			dirs[dir] = c
		}
		switch {
		case name == manifestName:
			c.Key = o.Key
		case strings.HasSuffix(name, partSuffix):
			c.listed = append(c.listed, o.Key)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	rest = make(map[string]uint64)
	for _, c := range dirs {
		if c.Key != "" {
			found = append(found, c)
			continue
		}
		for _, key := range c.listed {
			rest[key] = c.Index
		}
	}
	slices.SortFunc(found, func(a, b *Checkpoint) int { return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Key, b.Key)) })
	return found, rest, nil
}

// Load reads what a listed checkpoint says of itself. Corrupt, with the key, when that is damaged, and UnsupportedVersion when a newer program wrote it.
func (c *Checkpoint) Load(ctx context.Context, store *Store) error {
	data, err := readSmall(ctx, store, c.Key, maxManifestBytes)
	if err != nil {
		return err
	}
	loaded, err := decodeCheckpoint(data)
	if err != nil {
		return mq.Wrapf(err, "checkpoint %s", c.Key)
	}
	if loaded.Index != c.Index {
		return mq.Errorf(mq.Corrupt, "checkpoint %s: it says index %d", c.Key, loaded.Index)
	}
	loaded.Key = c.Key
	*c = *loaded
	return nil
}

// NewestCheckpoint loads the newest checkpoint under a cluster's prefix; nil: there is none.
func NewestCheckpoint(ctx context.Context, store *Store, prefix string) (*Checkpoint, error) {
	found, _, err := ListCheckpoints(ctx, store, prefix)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	newest := found[len(found)-1]
	return newest, newest.Load(ctx, store)
}

// Open reads the copy, part by part. Reading fails with Corrupt, with the key, where a part is not what was written.
func (c *Checkpoint) Open(ctx context.Context, store *Store) io.Reader {
	return &checkpointReader{ctx: ctx, store: store, c: c}
}

type checkpointReader struct {
	ctx   context.Context // of the one who opened it
	store *Store
	c     *Checkpoint
	next  int // part
	data  []byte
}

// Read implements io.Reader.
func (r *checkpointReader) Read(p []byte) (int, error) {
	for len(r.data) == 0 {
		if r.next == len(r.c.Parts) {
			return 0, io.EOF
		}
		key, want := r.c.part(r.next), r.c.Parts[r.next]
		data, err := readSmall(r.ctx, r.store, key, checkpointPartBytes)
		if err != nil {
			return 0, err
		}
		if crc := crc32.Checksum(data, castagnoli); int64(len(data)) != want.Bytes || crc != want.CRC {
			return 0, mq.Errorf(mq.Corrupt, "part %s of a checkpoint: %d bytes with CRC32C %08x, the manifest says %d with %08x", key, len(data), crc, want.Bytes, want.CRC)
		}
		r.data, r.next = data, r.next+1
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// readSmall reads a whole object of at most so many bytes.
func readSmall(ctx context.Context, store *Store, key string, most int64) (data []byte, err error) {
	err = fewTries(ctx, func() error {
		body, err := store.Open(ctx, key, 0, -1)
		if err != nil {
			return err
		}
		defer body.Close()
		if body.ObjectSize() > most {
			return mq.Errorf(mq.Corrupt, "%s has %d bytes, at most %d are possible", key, body.ObjectSize(), most)
		}
		data, err = io.ReadAll(io.LimitReader(body, most+1))
		return err
	})
	return data, err
}

// TrimCheckpoints deletes all but the newest keep checkpoints of a cluster, and what is left of those that were never finished below the newest. Never anything above
// it: somebody may be writing that.
func TrimCheckpoints(ctx context.Context, store *Store, prefix string, keep int) error {
	found, rest, err := ListCheckpoints(ctx, store, prefix)
	if err != nil || len(found) == 0 {
		return err
	}
	newest := found[len(found)-1].Index
	var manifests, parts []string
	for key, index := range rest {
		if index < newest {
			parts = append(parts, key)
		}
	}
	for _, c := range found[:max(0, len(found)-keep)] {
		manifests, parts = append(manifests, c.Key), append(parts, c.listed...)
	}
	// Manifests first: what has none is no checkpoint.
	if err := errors.Join(DeleteObjects(ctx, store, manifests)...); err != nil {
		return err
	}
	return errors.Join(DeleteObjects(ctx, store, parts)...)
}

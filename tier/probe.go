package tier

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// probeBytes is the size of the object that a probe writes.
const probeBytes = 4 << 10

// ProbeStep is one thing that a node does with its store, tried.
type ProbeStep struct {
	Name   string // "write", "create only", "read", "list" or "delete"
	Needs  string // the permission, in the store's words
	Took   time.Duration
	Err    error // nil: it works
	Denied bool  // the store refuses it to whoever we are
	// Skipped: it was not tried, since the step that it needs had failed.
	Skipped bool
}

// ProbeReport is what [Store.Probe] found, step by step.
type ProbeReport struct {
	Store string // its URL without its query
	Key   string // of the object that was written
	Steps []ProbeStep
}

// needs are the permissions for the steps, by scheme.
var needs = map[string]map[string]string{
	"s3": {
		"write": "s3:PutObject, and kms:GenerateDataKey where a KMS key encrypts", "create only": "s3:PutObject",
		"read": "s3:GetObject, and kms:Decrypt where a KMS key encrypts", "list": "s3:ListBucket", "delete": "s3:DeleteObject",
	},
	"gs": {
		"write": "storage.objects.create", "create only": "storage.objects.create",
		"read": "storage.objects.get", "list": "storage.objects.list", "delete": "storage.objects.delete",
	},
	"azblob": {
		"write": "blobs/write (Storage Blob Data Contributor)", "create only": "blobs/write (Storage Blob Data Contributor)",
		"read": "blobs/read (Storage Blob Data Reader)", "list": "blobs/read (Storage Blob Data Reader)", "delete": "blobs/delete (Storage Blob Data Contributor)",
	},
	"file": {
		"write": "to write into the directory", "create only": "hard links", "read": "to read its files", "list": "to read its directories", "delete": "to write into the directory",
	},
}

// Probe does once what a node does with its store, under keys that begin with
// prefix: it writes an object, sees that it is not overwritten, reads a range of
// it, lists and deletes it. ctx bounds it all.
func (s *Store) Probe(ctx context.Context, prefix string) *ProbeReport {
	key := prefix + "probe/" + strings.ToLower(rand.Text())
	data := make([]byte, probeBytes)
	_, _ = rand.Read(data) // never fails
	other := bytes.Clone(data)
	other[0]++
	r := &ProbeReport{Store: s.String(), Key: key}
	written := r.try(ctx, "write", true, func() error { return s.probeWrite(ctx, key, data) })
	r.try(ctx, "create only", written, func() error {
		if err := s.probeWrite(ctx, key, other); troubleOf(err) != troubleExists {
			return cmpErr(err, "the store overwrites what is there, though it is told not to: it does not know If-None-Match, and cannot be used")
		}
		return nil
	})
	r.try(ctx, "read", written, func() error { return s.probeRead(ctx, key, data[probeBytes/4:probeBytes/2]) })
	// A store that refused that answers; one that is away would only be waited for.
	r.try(ctx, "list", written || r.Steps[0].Denied, func() error { return s.probeList(ctx, key, written) })
	r.try(ctx, "delete", written, func() error {
		if err := s.Delete(ctx, key); err != nil {
			return err
		}
		if _, err := s.Stat(ctx, key); !errors.Is(err, ErrAbsent) {
			return cmpErr(err, "it is there, though it was deleted")
		}
		return nil
	})
	return r
}

// cmpErr is err, or what is wrong without one.
func cmpErr(err error, otherwise string) error {
	if err == nil {
		err = errors.New(otherwise)
	}
	return err
}

// try runs a step, unless it cannot be.
func (r *ProbeReport) try(ctx context.Context, name string, possible bool, step func() error) bool {
	kind, _, _ := strings.Cut(r.Store, "://")
	s := ProbeStep{Name: name, Needs: needs[kind][name], Skipped: !possible}
	if possible {
		start := time.Now()
		s.Err = step()
		s.Took = time.Since(start)
		s.Denied = troubleOf(s.Err) == troubleDenied && ctx.Err() == nil
	}
	r.Steps = append(r.Steps, s)
	return possible && s.Err == nil
}

// probeWrite is Put without its verification, which needs to read.
func (s *Store) probeWrite(ctx context.Context, key string, data []byte) error {
	r, err := s.begin(ctx, opPut, int64(len(data)))
	if err != nil {
		return err
	}
	defer r.end()
	return s.create(r, &Upload{Key: key, Data: data, CRC: checksum(data), PartBytes: s.limits.PartBytes})
}

func (s *Store) probeRead(ctx context.Context, key string, want []byte) error {
	body, err := s.Open(ctx, key, probeBytes/4, int64(len(want)))
	if err != nil {
		return err
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) || body.ObjectSize() != probeBytes {
		return fmt.Errorf("a range of it reads as %d other bytes, of an object of %d", len(got), body.ObjectSize())
	}
	return nil
}

func (s *Store) probeList(ctx context.Context, key string, written bool) error {
	var found bool
	err := s.List(ctx, key, func(o Info) error {
		found = found || o.Key == key && o.Size == probeBytes
		return nil
	})
	if err == nil && written && !found {
		err = errors.New("what was written is not listed")
	}
	return err
}

// Err is what is wrong, nil when all steps worked: it names the first that did
// not, and what that needs where it was refused.
func (r *ProbeReport) Err() error {
	for _, s := range r.Steps {
		if s.Err == nil {
			continue
		}
		if s.Denied && s.Needs != "" {
			return mq.Errorf(mq.ObjectStoreUnavailable, "object store %s refuses to %s, for which it needs the permission %s: %w", r.Store, s.Name, s.Needs, s.Err)
		}
		return mq.Errorf(mq.ObjectStoreUnavailable, "object store %s: %s: %w", r.Store, s.Name, s.Err)
	}
	return nil
}

// Denied says whether the store answers, and refuses.
func (r *ProbeReport) Denied() bool {
	for _, s := range r.Steps {
		if s.Denied {
			return true
		}
	}
	return false
}

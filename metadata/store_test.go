package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// story is a long random list of commands, most of which make sense.
func story(t testing.TB, seed uint64, length int) [][]byte {
	random := rand.New(rand.NewPCG(seed, 1))
	commands := [][]byte{encode(t, formCommand())}
	for node := range int32(4) {
		commands = append(commands, encode(t, registerCommand(node+1, 1)))
	}
	commands = append(commands, encode(t, objectIDsCommand(10_000)))
	ends := map[mq.PartitionID]int64{}
	for i := range length {
		topic := byte(random.IntN(12))
		var c *metadatapb.Command
		switch random.IntN(19) {
		case 18:
			if i == 0 {
				continue
			}
			id, from := partitionOf(topic, random.Int32N(3)), 10*random.Int64N(3)
			c = replaceCommand(uint64(i+1), replacementOf(id, refOf(from, from+10, random.Uint64N(uint64(i))+1), refOf(from+10, from+20, random.Uint64N(uint64(i))+1)))
		case 16:
			c = putTokenCommand(byte(random.IntN(9)), random.Int32N(4), int64(i), int64(i+random.IntN(9)))
		case 17:
			c = useTokenCommand(byte(random.IntN(9)), random.Int32N(4), int64(i))
		case 10:
			c = shutdownCommand(random.Int32N(4)+1, uint64(random.IntN(4)+2))
		case 11:
			c = addControllerCommand(random.Int32N(3)+1, random.Int32N(3)+1)
		case 12:
			c = removeControllerCommand(1<<31 + uint64(random.IntN(9)))
		case 14, 15:
			c = reassignCommand(partitionOf(topic, random.Int32N(3)), []int32{4, 1, 2, 3}[random.IntN(4):]...)
		case 13:
			c = removeBrokerCommand(random.Int32N(4) + 1)
		case 0:
			c = registerCommand(random.Int32N(4)+1, uint64(i))
		case 1:
			c = fenceCommand(random.Int32N(4)+1, uint64(random.IntN(4)+2))
		case 2, 3:
			c = createCommand(topic, fmt.Sprint("topic-", topic), []int32{1, 2, 3}, []int32{2, 3, 4}, []int32{3, 4, 1})
		case 4:
			if random.IntN(3) > 0 {
				continue
			}
			c = deleteCommand(topic)
		case 5:
			c = logStartCommand(partitionOf(topic, random.Int32N(3)), int64(random.IntN(100)))
		case 6:
			c = reclaimCommand(3)
		default:
			var ranges []*metadatapb.RangeCommit
			for p := range int32(3) {
				id := partitionOf(topic, p)
				ranges = append(ranges, rangeOf(id, mq.Epoch(random.IntN(2)), ends[id], ends[id]+10))
				ends[id] += 10
			}
			c = commitCommand(random.Int32N(4)+1, uint64(i+1), ranges...)
		}
		commands = append(commands, encode(t, c))
	}
	return append(commands, []byte("garbage"), nil)
}

// TestSameCommandsGiveTheSameEverywhere applies one story on two machines, cut into different batches, one of them closed and opened
// in between.
func TestSameCommandsGiveTheSameEverywhere(t *testing.T) {
	commands := story(t, 1, 600)
	one, two := newBench(t), newBench(t)
	random := rand.New(rand.NewPCG(2, 2))
	var resultsOne, resultsTwo [][]byte
	for i, c := range commands {
		resultsOne = append(resultsOne, one.apply(c)...)
		if i%100 == 50 {
			path := one.store.opts.Path
			if err := one.store.Close(); err != nil {
				t.Fatal(err)
			}
			one.store = openStore(t, path)
		}
	}
	for rest := commands; len(rest) > 0; {
		n := min(1+random.IntN(40), len(rest))
		resultsTwo = append(resultsTwo, two.apply(rest[:n]...)...)
		rest = rest[n:]
	}
	for i := range commands {
		if !bytes.Equal(resultsOne[i], resultsTwo[i]) {
			t.Fatalf("command %d, %s: results differ", i, DescribeCommand(commands[i]))
		}
	}
	if !slices.Equal(dump(t, one.store), dump(t, two.store)) {
		t.Error("the databases differ")
	}
	if d := Diff(one.store.Image(), two.store.Image()); !d.Empty() {
		t.Errorf("the images differ: %+v", d)
	}
	atOne, sumOne, err := one.store.Digest()
	if err != nil {
		t.Fatal(err)
	}
	atTwo, sumTwo, err := two.store.Digest()
	if err != nil || sumOne != sumTwo || atOne.Index != atTwo.Index {
		t.Errorf("digests %x at %d and %x at %d, %v", sumOne, atOne.Index, sumTwo, atTwo.Index, err)
	}
	if one.store.Image().PartitionCount() == 0 || len(dump(t, one.store)) < 100 {
		t.Error("the story does not do much")
	}
}

func TestSnapshotIsTheWholeStateAndReplacesAnother(t *testing.T) {
	from, to := newBench(t), newBench(t)
	from.apply(story(t, 1, 300)...)
	to.apply(story(t, 2, 100)...)
	watch := to.store.Watch()
	<-watch.C()
	body, at, err := from.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	from.apply(story(t, 3, 50)...) // later than the snapshot
	staged, err := to.store.Stage(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	if got := staged.Position(); got.Index != at.Index || got.Term != at.Term || !bytes.Equal(got.Conf, at.Conf) {
		t.Errorf("stands at %+v, want %+v", got, at)
	}
	if to.store.Position().Index == at.Index {
		t.Error("it was installed before it should")
	}
	if err := staged.Install(); err != nil {
		t.Fatal(err)
	}
	staged.Discard()
	again := newBench(t)
	again.apply(story(t, 1, 300)...)
	if !slices.Equal(dump(t, to.store), dump(t, again.store)) {
		t.Error("the state is not the one that was sent")
	}
	if to.store.Position().Index != at.Index || to.store.Image().Index != at.Index {
		t.Errorf("stands at %d, want %d", to.store.Position().Index, at.Index)
	}
	select {
	case <-watch.C():
	default:
		t.Error("watchers were not told")
	}
	checkReload(t, to.store)
	to.index = at.Index
	to.must(createCommand(77, "after", []int32{1}))
	files, err := os.ReadDir(filepath.Dir(to.store.opts.Path))
	if err != nil || len(files) != 1 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

func TestBrokenSnapshotIsRefusedAndLeavesNothing(t *testing.T) {
	from, to := newBench(t), newBench(t)
	from.apply(story(t, 1, 50)...)
	body, _, err := from.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	for what, broken := range map[string][]byte{
		"empty":          nil,
		"half a header":  whole[:10],
		"no body":        whole[:16],
		"cut short":      whole[:len(whole)/2],
		"no checksum":    whole[:len(whole)-4],
		"half checksum":  whole[:len(whole)-1],
		"a flipped bit":  flipped(whole, len(whole)/2),
		"another magic":  flipped(whole, 3),
		"a huge length":  flipped(whole, 9),
		"wrong checksum": flipped(whole, len(whole)-1),
	} {
		if staged, err := to.store.Stage(bytes.NewReader(broken)); err == nil {
			staged.Discard()
			t.Errorf("%s: accepted", what)
		}
	}
	files, err := os.ReadDir(filepath.Dir(to.store.opts.Path))
	if err != nil || len(files) != 1 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

func flipped(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 0x10
	return b
}

func TestLeftOversOfACrashAreSwept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "metadata.db")
	for _, name := range []string{"metadata.db.spool-in-1", "metadata.db.spool-out-2"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openStore(t, path)
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

func TestForeignAndNewerFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign")
	b, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = b.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err })
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: foreign, NoSync: true}); mq.CodeOf(err) != mq.WrongDataDir {
		t.Errorf("foreign: %v", err)
	}
	newer := filepath.Join(dir, "newer")
	s := openStore(t, newer)
	err = s.bolt.Load().Update(func(tx *bbolt.Tx) error {
		kv := &boltKV{tx: tx}
		d := &db{r: kv, w: kv}
		d.putRaw(bucketMeta, []byte(keyFormat), []byte{0, 0, 0, 2})
		return kv.err
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: newer, NoSync: true}); mq.CodeOf(err) != mq.WrongDataDir {
		t.Errorf("newer: %v", err)
	}
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("garbage!"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: garbage, NoSync: true}); mq.CodeOf(err) != mq.Corrupt {
		t.Errorf("garbage: %v", err)
	}
}

// A range that a search does not find, for a bit of another's key is wrong, is not taken for one that was let go of.
func TestRangeThatIsMissingIsDamage(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	b.must(objectIDsCommand(100))
	id := partitionOf(1, 0)
	for i := range int64(5) {
		b.must(commitCommand(1, uint64(i+1), rangeOf(id, 0, i*10, i*10+10)))
	}
	b.must(logStartCommand(id, 10))
	for b.must(reclaimCommand(1)).GetReclaimRanges().GetMore() {
		continue
	}
	if got := bounds(b.ranges(id, 0, 100)); len(got) != 4 {
		t.Fatalf("above the log start: %v", got)
	}
	err := b.store.bolt.Load().Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketRanges)).Delete(rangeKey(id, 30))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []mq.Offset{0, 10, 20, 29} {
		if got, err := b.store.Ranges(id, from, 100); mq.CodeOf(err) != mq.Corrupt {
			t.Errorf("from %d: %v, %v", from, got, err)
		}
	}
	if got := bounds(b.ranges(id, 30, 100)); len(got) != 2 {
		t.Errorf("behind it: %v", got)
	}
}

// TestFlippedBitIsNeverServed flips bits all over the file: what is read afterwards is what was written, or an error.
func TestFlippedBitIsNeverServed(t *testing.T) {
	b := newCluster(t, 2)
	b.must(createCommand(1, "t", []int32{1, 2}, []int32{2, 1}))
	b.must(objectIDsCommand(100))
	for i := range int64(10) {
		b.must(commitCommand(1, uint64(i+1), rangeOf(partitionOf(1, 0), 0, i*10, i*10+10)))
	}
	wantRanges, position := b.ranges(partitionOf(1, 0), 0, 100), b.store.Position().Index
	path := b.store.opts.Path
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole = whole[:min(len(whole), 128<<10)] // bbolt makes files larger than they need be
	caught, dir := 0, t.TempDir()
	for at := 0; at < len(whole); at += 211 {
		damaged := filepath.Join(dir, fmt.Sprint(at)) // bbolt keeps its lock when it panics
		if err := os.WriteFile(damaged, flipped(whole, at), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Options{Path: damaged, NoSync: true})
		if err != nil {
			caught++
			continue
		}
		ranges, err := s.Ranges(partitionOf(1, 0), 0, 100)
		switch {
		case err != nil:
			caught++
		case !slices.Equal(ranges, wantRanges[:min(len(ranges), len(wantRanges))]):
			t.Errorf("byte %d: wrong ranges are served: %+v", at, ranges)
		case s.Position().Index < position-1: // the last commit can be taken back: raft applies it again
			t.Errorf("byte %d: it goes on from index %d", at, s.Position().Index)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d caught", caught, len(whole)/211)
	if caught < 3 {
		t.Error("nothing was caught")
	}
}

func TestApplyRefusesWhatWasApplied(t *testing.T) {
	b := newCluster(t, 1)
	before := b.store.Position().Index
	if _, err := b.store.Apply(entriesOf(before, encode(t, objectIDsCommand(1))), positionAt(before+1)); mq.CodeOf(err) != mq.Internal {
		t.Errorf("an applied entry: %v", err)
	}
	if _, err := b.store.Apply(nil, raft.Position{Index: before - 1}); mq.CodeOf(err) != mq.Internal {
		t.Errorf("back: %v", err)
	}
}

func TestFullDiskRefusesACommitAndHeals(t *testing.T) {
	b := newCluster(t, 1)
	before := dump(t, b.store)
	full := func(string) error { return &fs.PathError{Op: "write", Path: "metadata.db", Err: syscall.ENOSPC} }
	b.store.opts.BeforeCommit = full
	entries := entriesOf(b.index+1, encode(t, createCommand(1, "orders", []int32{1})))
	at := positionAt(b.index + 1)
	if _, err := b.store.Apply(entries, at); mq.CodeOf(err) != mq.StorageFull || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a full disk gives %v", err)
	}
	if after := dump(t, b.store); !slices.Equal(before, after) {
		t.Error("a refused commit left something")
	}
	// A sync that fails is not tried again, whatever it says.
	b.store.opts.BeforeCommit = func(string) error { return syscall.ENOSPC }
	if _, err := b.store.Apply(entries, at); mq.CodeOf(err) != mq.KafkaStorageError {
		t.Errorf("a failed sync gives %v", err)
	}
	b.store.opts.BeforeCommit = func(string) error { return nil }
	if _, err := b.store.Apply(entries, at); err != nil {
		t.Fatal(err)
	}
	if b.store.Image().TopicByName("orders") == nil {
		t.Error("no topic after the disk had room again")
	}
	checkReload(t, b.store)
}

func TestWatchersSeeTheLatestImage(t *testing.T) {
	b := newCluster(t, 1)
	slow, gone := b.store.Watch(), b.store.Watch()
	<-slow.C()
	<-gone.C()
	gone.Close()
	seen := slow.Image()
	b.must(createCommand(1, "a", []int32{1}))
	b.must(createCommand(2, "b", []int32{1}, []int32{1}))
	b.must(objectIDsCommand(1))
	b.must(commitCommand(1, 1, rangeOf(partitionOf(2, 1), 0, 0, 10)))
	<-slow.C()
	now := slow.Image()
	d := Diff(seen, now)
	if len(d.Created) != 2 || len(d.Changed)+len(d.Deleted)+len(d.Brokers) != 0 || d.Created[1].Partition(1).TieredEnd != 10 {
		t.Errorf("got %+v", d)
	}
	select {
	case <-slow.C():
		t.Error("changes do not coalesce")
	case <-gone.C():
		t.Error("a closed watch was told")
	default:
	}
	b.must(commitCommand(1, 1, rangeOf(partitionOf(2, 0), 0, 0, 10)))
	b.must(deleteCommand(1))
	b.must(registerCommand(1, 300))
	d = Diff(now, b.store.Image())
	if len(d.Changed) != 1 || !slices.Equal(d.Changed[0].Partitions, []int32{0, 1}) || d.Changed[0].ConfigChanged || len(d.Deleted) != 1 ||
		len(d.Brokers) != 1 || d.Cluster {
		t.Errorf("got %+v", d)
	}
}

// TestImageIsSmall measures an image of 10,000 partitions, as one topic and as 10,000.
func TestImageIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory")
	}
	b := newCluster(t, 3)
	one := make([][]int32, 10_000)
	for i := range one {
		one[i] = []int32{int32(i%3) + 1, int32(i+1)%3 + 1, int32(i+2)%3 + 1}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	b.must(createCommand(1, "one", one...))
	perPartition := (heap() - before) / 10_000
	commands := make([][]byte, 10_000)
	for i := range commands {
		c := createCommand(2, fmt.Sprint("topic-", i), one[i])
		id := c.GetCreateTopic().GetId()
		id[1], id[2], id[3] = byte(i), byte(i>>8), 9
		commands[i] = encode(t, c)
	}
	before = heap()
	b.apply(commands...)
	perTopic := (heap() - before) / 10_000
	t.Logf("%d bytes per partition, %d bytes per topic of one partition", perPartition, perTopic)
	if perPartition > 300 || perTopic > 1200 {
		t.Error("that is much")
	}
	runtime.KeepAlive(b)
}

package metadata

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// benchAt is a bench whose code claims to know a feature level.
func benchAt(t testing.TB, known uint32) *bench {
	t.Helper()
	s, err := open(Options{Path: filepath.Join(t.TempDir(), "metadata.db"), NoSync: true}, known)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &bench{t: t, store: s}
}

// ofNextLevel is a command of a kind that this code does not know, and that says which level it needs.
func ofNextLevel(level uint64) []byte {
	data := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), level)
	return protowire.AppendBytes(protowire.AppendTag(data, 9999, protowire.BytesType), []byte("news"))
}

func levelCommand(level uint32) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_SetFeatureLevel{SetFeatureLevel: &metadatapb.SetFeatureLevel{FeatureLevel: level}}}
}

// at says that a broker or controller speaks a feature level.
func at(level uint32, c *metadatapb.Command) *metadatapb.Command {
	if r := c.GetRegisterBroker(); r != nil {
		r.MaxFeatureLevel = level
	}
	if r := c.GetRegisterController(); r != nil {
		r.GetController().MaxFeatureLevel = level
	}
	return c
}

// TestOldAndNewCodeDecideAlikeUntilTheLevelRises runs one log on code of this level and of the next.
func TestOldAndNewCodeDecideAlikeUntilTheLevelRises(t *testing.T) {
	old, next := benchAt(t, FeatureLevel), benchAt(t, FeatureLevel+1)
	both := func(data []byte) mq.Code {
		t.Helper()
		one, two := old.apply(data)[0], next.apply(data)[0]
		if !bytes.Equal(one, two) {
			t.Errorf("%s: %x by old code, %x by new", DescribeCommand(data), one, two)
		}
		_, err := DecodeResult(one)
		return mq.CodeOf(err)
	}
	const level = FeatureLevel + 1
	for i, step := range []struct {
		data []byte
		want mq.Code
	}{
		{encode(t, formedBy(1, 2)), mq.None},
		{encode(t, registerCommand(1, 1)), mq.None},
		{encode(t, at(level, registerCommand(2, 1))), mq.None},
		{ofNextLevel(level), mq.UnsupportedVersion},
		{ofNextLevel(FeatureLevel), mq.InvalidRequest}, // it lies
		{encode(t, levelCommand(level)), mq.UnsupportedVersion},
		{encode(t, at(level, registerCommand(1, 2))), mq.None},
		{encode(t, levelCommand(level)), mq.UnsupportedVersion}, // the controllers
		{encode(t, at(level, registerControllerCommand(controllerRecordOf(1, 1, 0)))), mq.None},
		{encode(t, levelCommand(level)), mq.UnsupportedVersion}, // one of them
		{encode(t, levelCommand(0)), mq.InvalidRequest},
		{encode(t, levelCommand(FeatureLevel)), mq.None},
		{encode(t, createCommand(1, "t", []int32{1, 2})), mq.None},
		{encode(t, at(level, registerControllerCommand(controllerRecordOf(2, 2, 0)))), mq.None},
	} {
		if got := both(step.data); got != step.want {
			t.Errorf("step %d, %s: %v, want %v", i, DescribeCommand(step.data), got, step.want)
		}
	}
	if !slices.Equal(dump(t, old.store), dump(t, next.store)) {
		t.Fatal("old and new code differ")
	}

	raise := encode(t, levelCommand(level))
	before := dump(t, old.store)
	if _, err := old.store.Apply(entriesOf(old.index+1, raise), positionAt(old.index+1)); mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Errorf("old code goes on: %v", err)
	}
	if !slices.Equal(dump(t, old.store), before) || old.store.Position().Index != old.index {
		t.Error("old code stopped with half a command")
	}
	next.apply(raise)
	if got := next.store.Image().FeatureLevel; got != level {
		t.Fatalf("new code is at level %d", got)
	}
	next.refuse(mq.UnsupportedVersion, registerCommand(3, 1))
	next.refuse(mq.UnsupportedVersion, addControllerCommand(3, 0))

	body, _, err := next.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if staged, err := old.store.Stage(body); mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Errorf("old code takes a snapshot of the next level: %v", err)
		staged.Discard()
	}
	path := next.store.opts.Path
	if err := errors.Join(body.Close(), next.store.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: path, NoSync: true}); mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Errorf("old code opens a database of the next level: %v", err)
	}
}

// A command that says too low a level is refused by code that knows its kind as by code that does not.
func TestKindAboveTheLevelIsNoKind(t *testing.T) {
	m := newMachine(nil, &Image{ClusterID: clusterID, FeatureLevel: 0}, FeatureLevel)
	data := encode(t, objectIDsCommand(1))
	data[1] = 0 // the level that it says
	_, known := m.decide(data)
	_, unknown := m.decide(ofNextLevel(0))
	if mq.CodeOf(known) != mq.InvalidRequest || known.Error() != unknown.Error() {
		t.Errorf("%v when the kind is known, %v when it is not", known, unknown)
	}
}

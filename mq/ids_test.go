package mq

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestIDsPrintAsKafkaPrintsThemAndParseBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := TopicID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		s := id.String()
		if len(s) != 22 || strings.ContainsAny(s, "+/=") {
			t.Fatalf("printed as %q", s)
		}
		if back, err := ParseTopicID(s); err != nil || back != id {
			t.Fatalf("%q parsed as %v, %v", s, back, err)
		}
		if back, err := ParseClusterID(ClusterID(id).String()); err != nil || back != ClusterID(id) {
			t.Fatalf("%q parsed as %v, %v", s, back, err)
		}
		if back, err := ParseDirID(DirID(id).String()); err != nil || back != DirID(id) {
			t.Fatalf("%q parsed as %v, %v", s, back, err)
		}
	})
	// What Kafka's Uuid prints for the same bytes.
	if s := (TopicID{15: 1}).String(); s != "AAAAAAAAAAAAAAAAAAAAAQ" {
		t.Errorf("printed as %q", s)
	}
}

func TestIDsHaveOneSpelling(t *testing.T) {
	for _, s := range []string{
		"", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA==",
		"AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAA+AAAAAAAAA", "AAAAAAAAAAAA\nAAAAAAAAAA", strings.Repeat("A", 1000),
	} {
		_, err := ParseTopicID(s)
		requireCode(t, err, InvalidRequest)
		if len(err.Error()) > 200 {
			t.Errorf("the error repeats what it was given: %d characters", len(err.Error()))
		}
	}
}

func TestIDsTravelAsText(t *testing.T) {
	type ids struct {
		Topic   TopicID
		Cluster ClusterID
		Dir     DirID
	}
	in := ids{TopicID{1}, ClusterID{2}, DirID{3}}
	text, err := json.Marshal(in)
	if err != nil || !strings.Contains(string(text), in.Cluster.String()) {
		t.Fatalf("%s, %v", text, err)
	}
	var out ids
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Fatalf("%v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"Dir":"x"}`), &out); err == nil {
		t.Error("a wrong id was taken")
	}
}

func TestNewIDsAreNeverZeroNorLookLikeFlags(t *testing.T) {
	// The first draw would print with a '-' in front: another is made.
	random := bytes.NewReader(append(bytes.Repeat([]byte{0xfb}, 16), make([]byte, 16)...))
	id, err := NewTopicID(random)
	if err != nil || id.IsZero() || random.Len() != 0 {
		t.Fatalf("%v, %v", id, err)
	}
	if (id[6]>>4) != 4 || id[8]>>6 != 2 {
		t.Errorf("%x is not a version 4 UUID", id[:])
	}
	if _, err := NewClusterID(iotest.ErrReader(bytes.ErrTooLarge)); err == nil {
		t.Error("an id was drawn from nothing")
	}
	if _, err := NewDirID(bytes.NewReader(make([]byte, 15))); err == nil {
		t.Error("an id was drawn from too little")
	}
	if !(TopicID{}).IsZero() || !(ClusterID{}).IsZero() || !(DirID{}).IsZero() || (DirID{1}).IsZero() {
		t.Error("IsZero")
	}
}

func TestPartitionKeysComeBackAndSortByTopicThenIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) PartitionID {
			return PartitionID{TopicID{rapid.Byte().Draw(t, name)}, rapid.Int32Min(0).Draw(t, name)}
		}
		a, b := draw("a"), draw("b")
		if PartitionIDFromKey(a.Key()) != a {
			t.Fatalf("%v came back as %v", a, PartitionIDFromKey(a.Key()))
		}
		want := slices.Compare(a.Topic[:], b.Topic[:])
		if want == 0 {
			want = int(max(-1, min(1, int64(a.Index)-int64(b.Index))))
		}
		ka, kb := a.Key(), b.Key()
		if got := bytes.Compare(ka[:], kb[:]); got != want {
			t.Fatalf("%v and %v compare as %d", a, b, got)
		}
	})
	if s := (PartitionID{TopicID{}, 12}).String(); s != "AAAAAAAAAAAAAAAAAAAAAA:12" {
		t.Errorf("printed as %q", s)
	}
}

func TestTopicNamesFollowKafkasRules(t *testing.T) {
	for _, name := range []string{"a", "orders", "a.b_c-D9", "...", "_", "-", strings.Repeat("x", MaxTopicNameBytes)} {
		if err := ValidTopicName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "a/b", "../etc", "a b", "a\x00", "ä", "a\n", "\\", "a:b", "*", strings.Repeat("x", MaxTopicNameBytes+1), strings.Repeat("/", 1<<20),
	} {
		err := ValidTopicName(name)
		requireCode(t, err, InvalidTopic)
		if len(err.Error()) > 1200 {
			t.Errorf("the error repeats what it was given: %d characters", len(err.Error()))
		}
	}
}

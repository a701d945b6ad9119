package metadata

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
)

// TestTrieIsAPersistentMap compares a trie with a map, and looks whether earlier tries stay as they were.
func TestTrieIsAPersistentMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			trie trie[string, *int]
			want map[string]*int
		}
		versions := []version{{want: map[string]*int{}}}
		for range rapid.IntRange(1, 8).Draw(t, "versions") {
			last := versions[len(versions)-1]
			e, want := last.trie.edit(&trieOwner{}), maps.Clone(last.want)
			for range rapid.IntRange(0, 60).Draw(t, "changes") {
				key := fmt.Sprint("k", rapid.IntRange(0, 90).Draw(t, "key"))
				if rapid.Bool().Draw(t, "remove") {
					e.remove(key)
					delete(want, key)
				} else {
					value := new(int)
					e.set(key, value)
					want[key] = value
				}
			}
			versions = append(versions, version{e.t, want})
		}
		for i, v := range versions {
			checkTrie(t, v.trie, v.want)
			for _, o := range versions[i:] {
				checkDiff(t, v.trie, o.trie, v.want, o.want)
			}
		}
	})
}

func checkTrie(t *rapid.T, got trie[string, *int], want map[string]*int) {
	if got.len() != len(want) {
		t.Fatalf("%d keys, want %d", got.len(), len(want))
	}
	seen := maps.Collect(got.all())
	if !maps.Equal(seen, want) {
		t.Fatalf("has %v, want %v", seen, want)
	}
	for i := range 91 {
		key := fmt.Sprint("k", i)
		if value, ok := got.get(key); value != want[key] || ok != (want[key] != nil) {
			t.Fatalf("%s: got %v, %v", key, value, ok)
		}
	}
}

func checkDiff(t *rapid.T, a, b trie[string, *int], wantA, wantB map[string]*int) {
	diff := 0
	diffNodes(a.root, b.root, func(key string, before, after *int) {
		diff++
		if wantA[key] != before || wantB[key] != after || before == after {
			t.Fatalf("%s: says %v and %v, want %v and %v", key, before, after, wantA[key], wantB[key])
		}
	})
	want := 0
	for key, v := range wantA {
		if wantB[key] != v {
			want++
		}
	}
	for key := range wantB {
		if wantA[key] == nil {
			want++
		}
	}
	if diff != want {
		t.Fatalf("%d differences, want %d", diff, want)
	}
}

// TestTrieKeepsKeysOfOneHash puts more keys at one hash than there are levels.
func TestTrieKeepsKeysOfOneHash(t *testing.T) {
	id := func(n byte) mq.TopicID { // first and second half so that the hash is 0
		var id mq.TopicID
		id[8] = n
		const inverse = 0x9e3779b97f4a7c15
		product := uint64(n) * inverse
		for i := range 8 {
			id[i] = byte(product >> (8 * i))
		}
		return id
	}
	var tr trie[mq.TopicID, *int]
	e := tr.edit(&trieOwner{})
	values := map[mq.TopicID]*int{}
	for n := byte(1); n <= 20; n++ {
		if trieHash(id(n)) != 0 {
			t.Fatal("the hash is not what the test thinks")
		}
		values[id(n)] = new(int)
		e.set(id(n), values[id(n)])
	}
	for n := byte(1); n <= 20; n += 2 {
		e.remove(id(n))
		delete(values, id(n))
	}
	if got := maps.Collect(e.t.all()); !maps.Equal(got, values) || e.t.len() != 10 {
		t.Errorf("has %d keys", len(got))
	}
	for key, want := range values {
		if got, ok := e.t.get(key); !ok || got != want {
			t.Errorf("%v is lost", key)
		}
	}
}

func BenchmarkTrieGet(b *testing.B) {
	var tr trie[mq.TopicID, *Topic]
	e := tr.edit(&trieOwner{})
	ids := make([]mq.TopicID, 10_000)
	for i := range ids {
		ids[i] = mq.TopicID{byte(i), byte(i >> 8), 3: byte(i * 7), 9: byte(i * 13)}
		e.set(ids[i], &Topic{})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := e.t.get(ids[i%len(ids)]); !ok {
			b.Fatal("lost")
		}
	}
}

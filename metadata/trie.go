package metadata

import (
	"encoding/binary"
	"iter"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/rustmq/rustmq/mq"
)

// trie is a persistent map: a hash array mapped trie of 32-way nodes. A trie is a value; with gives a new one that shares all
// but a path with the old one, so an image of 100,000 topics changes in a few hundred bytes. The zero value is empty.
//
// An editor makes many changes at the cost of one: nodes that it made itself it changes in place.
type trie[K comparable, V any] struct {
	root *trieNode[K, V]
	n    int
}

// trieNode has a slot per set bit of bitmap. At the depth where the hash is used up, keys of one hash lie in a list: bitmap is
// then 0.
type trieNode[K comparable, V any] struct {
	owner  *trieOwner
	bitmap uint32
	slots  []trieSlot[K, V]
}

// trieSlot holds a child, or a key and its value when child is nil.
type trieSlot[K comparable, V any] struct {
	child *trieNode[K, V]
	key   K
	value V
}

// trieOwner marks the nodes that one editor made. It must not have size zero: its address is its identity.
type trieOwner struct{ _ byte }

const (
	trieBits  = 5
	trieMask  = 1<<trieBits - 1
	trieDepth = 65 / trieBits // levels until 64 bits of hash are used up
)

// trieHash is a good hash of the three kinds of keys that there are. It need not be the same in another process.
func trieHash(key any) uint64 {
	switch k := key.(type) {
	case mq.TopicID:
		// Drawn at random but for a few fixed bits; folded so that none of these lies alone in a level.
		return binary.LittleEndian.Uint64(k[:8]) ^ binary.LittleEndian.Uint64(k[8:])*0x9e3779b97f4a7c15
	case string:
		return xxhash.Sum64String(k)
	case QuotaEntity:
		return xxhash.Sum64String(k.User) ^ bits.RotateLeft64(xxhash.Sum64String(k.ClientID), 1) // of the two defaults there are few
	}
	panic("metadata: no hash for this type of key")
}

func (t trie[K, V]) len() int { return t.n }

func (t trie[K, V]) get(key K) (value V, ok bool) {
	hash := trieHash(key)
	node := t.root
	for depth := 0; node != nil; depth++ {
		if depth == trieDepth {
			for i := range node.slots {
				if node.slots[i].key == key {
					return node.slots[i].value, true
				}
			}
			return value, false
		}
		bit := uint32(1) << (hash & trieMask)
		if node.bitmap&bit == 0 {
			return value, false
		}
		slot := &node.slots[onesBelow(node.bitmap, bit)]
		if slot.child == nil {
			if slot.key == key {
				return slot.value, true
			}
			return value, false
		}
		node = slot.child
		hash >>= trieBits
	}
	return value, false
}

// all goes over keys and values in the order of the keys' hashes.
func (t trie[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { t.root.each(yield) }
}

func (t trie[K, V]) values() iter.Seq[V] {
	return func(yield func(V) bool) { t.root.each(func(_ K, v V) bool { return yield(v) }) }
}

func (n *trieNode[K, V]) each(yield func(K, V) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.slots {
		s := &n.slots[i]
		if s.child != nil {
			if !s.child.each(yield) {
				return false
			}
		} else if !yield(s.key, s.value) {
			return false
		}
	}
	return true
}

// edit starts changing a copy of t. owner marks what belongs to the copy alone.
func (t trie[K, V]) edit(owner *trieOwner) trieEditor[K, V] {
	return trieEditor[K, V]{t: t, owner: owner}
}

type trieEditor[K comparable, V any] struct {
	t     trie[K, V]
	owner *trieOwner
}

func (e *trieEditor[K, V]) set(key K, value V) {
	hash := trieHash(key)
	if e.t.root == nil {
		e.t.root = &trieNode[K, V]{owner: e.owner}
	}
	var added bool
	e.t.root, added = e.setIn(e.t.root, 0, hash, key, value)
	if added {
		e.t.n++
	}
}

// own gives node itself when this editor made it, and else a copy.
func (e *trieEditor[K, V]) own(node *trieNode[K, V], room int) *trieNode[K, V] {
	if node.owner == e.owner {
		return node
	}
	slots := make([]trieSlot[K, V], len(node.slots), len(node.slots)+room)
	copy(slots, node.slots)
	return &trieNode[K, V]{owner: e.owner, bitmap: node.bitmap, slots: slots}
}

func (e *trieEditor[K, V]) setIn(node *trieNode[K, V], depth int, rest uint64, key K, value V) (_ *trieNode[K, V], added bool) {
	if depth == trieDepth {
		node = e.own(node, 1)
		for i := range node.slots {
			if node.slots[i].key == key {
				node.slots[i].value = value
				return node, false
			}
		}
		node.slots = append(node.slots, trieSlot[K, V]{key: key, value: value})
		return node, true
	}
	bit := uint32(1) << (rest & trieMask)
	at := onesBelow(node.bitmap, bit)
	if node.bitmap&bit == 0 {
		node = e.own(node, 1)
		node.bitmap |= bit
		node.slots = append(node.slots, trieSlot[K, V]{})
		copy(node.slots[at+1:], node.slots[at:])
		node.slots[at] = trieSlot[K, V]{key: key, value: value}
		return node, true
	}
	node = e.own(node, 0)
	slot := &node.slots[at]
	switch {
	case slot.child != nil:
		slot.child, added = e.setIn(slot.child, depth+1, rest>>trieBits, key, value)
	case slot.key == key:
		slot.value = value
	default: // two keys share the hash so far: one level more
		child := &trieNode[K, V]{owner: e.owner}
		child, _ = e.setIn(child, depth+1, trieHash(slot.key)>>(trieBits*uint(depth+1)), slot.key, slot.value)
		child, added = e.setIn(child, depth+1, rest>>trieBits, key, value)
		*slot = trieSlot[K, V]{child: child}
	}
	return node, added
}

func (e *trieEditor[K, V]) remove(key K) {
	if _, ok := e.t.get(key); !ok {
		return
	}
	e.t.root = e.removeIn(e.t.root, 0, trieHash(key), key)
	e.t.n--
}

// removeIn removes a key that is there, and gives nil for a node that became empty.
func (e *trieEditor[K, V]) removeIn(node *trieNode[K, V], depth int, rest uint64, key K) *trieNode[K, V] {
	node = e.own(node, 0)
	at, bit := 0, uint32(0)
	if depth == trieDepth {
		for node.slots[at].key != key {
			at++
		}
	} else {
		bit = uint32(1) << (rest & trieMask)
		at = onesBelow(node.bitmap, bit)
		if child := node.slots[at].child; child != nil {
			child = e.removeIn(child, depth+1, rest>>trieBits, key)
			if child != nil {
				node.slots[at].child = child
				return node
			}
		}
	}
	last := len(node.slots) - 1
	if last == 0 {
		return nil
	}
	node.bitmap &^= bit
	copy(node.slots[at:], node.slots[at+1:])
	node.slots[last] = trieSlot[K, V]{}
	node.slots = node.slots[:last]
	return node
}

// onesBelow is the position of a bit's slot.
func onesBelow(bitmap, bit uint32) int { return bits.OnesCount32(bitmap & (bit - 1)) }

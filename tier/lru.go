package tier

import "container/list"

// lru is a map that forgets what was used least recently when the cost of its
// values exceeds max. Not safe for concurrent use.
type lru[K comparable, V any] struct {
	max, used int64
	items     map[K]*list.Element // of *lruItem[K, V]
	order     list.List           // most recently used first
	evicted   func(V)             // may be nil; not called by remove
}

type lruItem[K comparable, V any] struct {
	key   K
	value V
	cost  int64
}

func newLRU[K comparable, V any](max int64, evicted func(V)) *lru[K, V] {
	return &lru[K, V]{max: max, items: make(map[K]*list.Element), evicted: evicted}
}

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	e, ok := l.items[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruItem[K, V]).value, true
}

func (l *lru[K, V]) put(key K, value V, cost int64) {
	l.remove(key)
	l.items[key] = l.order.PushFront(&lruItem[K, V]{key, value, cost})
	l.used += cost
	for l.used > l.max {
		last := l.order.Back().Value.(*lruItem[K, V])
		l.remove(last.key)
		if l.evicted != nil {
			l.evicted(last.value)
		}
	}
}

func (l *lru[K, V]) remove(key K) {
	if e, ok := l.items[key]; ok {
		l.used -= e.Value.(*lruItem[K, V]).cost
		l.order.Remove(e)
		delete(l.items, key)
	}
}

package client

// queue is a first-in-first-out list that can be walked. Its zero value is empty.
type queue[T any] struct {
	items []T // items[head:] are in the queue
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

// all are the items from the oldest; valid until the next call.
func (q *queue[T]) all() []T { return q.items[q.head:] }

func (q *queue[T]) push(v T) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

// pop takes the oldest item; there must be one.
func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}

// keep drops all items for which wanted is false.
func (q *queue[T]) keep(wanted func(T) bool) {
	kept := q.items[:0]
	for _, v := range q.all() {
		if wanted(v) {
			kept = append(kept, v)
		}
	}
	clear(q.items[len(kept):])
	q.items, q.head = kept, 0
}

package tier

import "sync"

// marks is the set of sources that were notified since the last look.
type marks struct {
	set  sync.Map // of Source: lets a second Notify return without a lock
	mu   sync.Mutex
	list []Source
	wake chan struct{} // holds one: the set is not empty
}

func (m *marks) add(s Source) {
	if _, marked := m.set.Load(s); marked {
		return
	}
	if _, marked := m.set.LoadOrStore(s, nil); marked {
		return
	}
	m.mu.Lock()
	m.list = append(m.list, s)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take empties the set. What is notified from now on is in the next one: so the
// caller looks at a source only after it was taken.
func (m *marks) take() []Source {
	m.mu.Lock()
	list := m.list
	m.list = nil
	m.mu.Unlock()
	for _, s := range list {
		m.set.Delete(s)
	}
	return list
}

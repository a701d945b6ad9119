package join

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// MaxTokens is how many tokens may wait for their nodes in a [Memory]: more than anybody adds at a time.
const MaxTokens = 1000

// Issued is what is kept of a token: not its secret.
type Issued struct {
	ID      TokenID
	Hash    [sha256.Size]byte // of the secret
	Node    mq.NodeID
	Expires time.Time
}

// Tokens keeps what was issued and not used yet.
type Tokens interface {
	// Put keeps a token. TooManyRequests says that there are too many already.
	Put(ctx context.Context, t Issued, now time.Time) error
	// Use finds the token with this id, secret and node, which has not ended at now, and removes it, durably if the store is.
	// Of all calls for one token at most one returns nil, on all nodes together. Any other gets [ErrNoToken], whatever is wrong with it.
	Use(ctx context.Context, id TokenID, secret []byte, node mq.NodeID, now time.Time) error
}

// ErrNoToken is what whoever has no good token is told.
var ErrNoToken = mq.Errorf(mq.ClusterAuthorizationFailed, "no such join token is waiting for this node: it was used, has expired, or never was; get another with `rustmq ctl ca join-token`")

// Memory keeps tokens in memory, for as long as there is no cluster yet that could: a restart of the node forgets them.
type Memory struct {
	mu     sync.Mutex
	tokens map[TokenID]Issued
}

// NewMemory is an empty store.
func NewMemory() *Memory { return &Memory{tokens: make(map[TokenID]Issued)} }

// Put implements [Tokens].
func (m *Memory) Put(_ context.Context, t Issued, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, other := range m.tokens {
		if !now.Before(other.Expires) {
			delete(m.tokens, id)
		}
	}
	if len(m.tokens) >= MaxTokens {
		return mq.Errorf(mq.TooManyRequests, "%d join tokens wait for their nodes: another can be made when one was used or has expired", len(m.tokens))
	}
	m.tokens[t.ID] = t
	return nil
}

// Take removes all that has not ended at now, and gives it.
func (m *Memory) Take(now time.Time) []Issued {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Issued
	for _, t := range m.tokens {
		if now.Before(t.Expires) {
			all = append(all, t)
		}
	}
	clear(m.tokens)
	return all
}

// Use implements [Tokens].
func (m *Memory) Use(_ context.Context, id TokenID, secret []byte, node mq.NodeID, now time.Time) error {
	hash := sha256.Sum256(secret)
	m.mu.Lock()
	defer m.mu.Unlock()
	t, found := m.tokens[id]
	// A token that is not there is compared as well, so that it takes as long.
	same := subtle.ConstantTimeCompare(hash[:], t.Hash[:]) == 1
	if !found || !same || t.Node != node || !now.Before(t.Expires) {
		return ErrNoToken
	}
	delete(m.tokens, id)
	return nil
}

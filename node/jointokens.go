package node

import (
	"context"
	"crypto/sha256"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/control"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki/join"
)

// tokenTimeout is how long a node that joins, or an operator, waits at most for what the controllers decide about a token.
const tokenTimeout = 5 * time.Second

// joinTokens keeps join tokens in the cluster's metadata, so that every node takes what any node has made. Those that are made before this node has
// reached the controllers wait in memory: the first nodes of a cluster get their certificates before there is one.
type joinTokens struct {
	early  *join.Memory
	client func() *control.Client // nil before the controllers were reached
}

var _ join.Tokens = (*joinTokens)(nil)

// Put implements join.Tokens.
func (t *joinTokens) Put(ctx context.Context, issued join.Issued, now time.Time) error {
	client := t.client()
	if client == nil {
		return t.early.Put(ctx, issued, now)
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	_, err := client.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_PutJoinToken{PutJoinToken: &metadatapb.PutJoinToken{
		TokenId: issued.ID[:], NowMs: now.UnixMilli(),
		Token: &metadatapb.JoinToken{SecretSha256: issued.Hash[:], NodeId: int32(issued.Node), ExpiresMs: issued.Expires.UnixMilli()},
	}}})
	return mq.Wrapf(err, "keep the join token of node %d", issued.Node)
}

// Use implements join.Tokens.
func (t *joinTokens) Use(ctx context.Context, id join.TokenID, secret []byte, node mq.NodeID, now time.Time) error {
	client := t.client()
	if err := t.early.Use(ctx, id, secret, node, now); err == nil || client == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	hash := sha256.Sum256(secret)
	_, err := client.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_UseJoinToken{UseJoinToken: &metadatapb.UseJoinToken{
		TokenId: id[:], SecretSha256: hash[:], NodeId: int32(node), NowMs: now.UnixMilli(),
	}}})
	switch {
	case err == nil:
		return nil
	case mq.CodeOf(err) == mq.ClusterAuthorizationFailed:
		return join.ErrNoToken
	case control.Undecided(err):
		return mq.Wrapf(err, "the controllers did not answer in time whether the join token is good, and it may be used up")
	}
	return mq.Wrapf(err, "ask the controllers whether the join token is good")
}

// share gives to the controllers what was made before they were reached.
func (t *joinTokens) share(ctx context.Context, now time.Time) error {
	for _, issued := range t.early.Take(now) {
		if err := t.Put(ctx, issued, now); err != nil {
			if !control.Undecided(err) { // else it may be there, and would be good twice
				err = mq.Wrapf(err, "only this node takes it, until it restarts")
				_ = t.early.Put(ctx, issued, now) // there is room: it was there
			}
			return err
		}
	}
	return nil
}

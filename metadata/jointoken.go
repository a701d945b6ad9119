package metadata

import (
	"crypto/sha256"
	"crypto/subtle"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// What new nodes are let in by. It stands in the database only: no image has it, for only who is told a secret asks.

const (
	// MaxJoinTokens is how many tokens may wait for their nodes: more than anybody adds at a time, few enough to be gone through at each new one.
	MaxJoinTokens = 1000
	// MaxJoinTokenMillis is the longest life of a token: one that a broken clock made does not stay for ever.
	MaxJoinTokenMillis = 7 * 24 * 60 * 60 * 1000

	joinTokenIDBytes = 16
)

// putJoinToken goes by the clock of the node that makes the token, useJoinToken by that of the node that is told the secret: both belong to the
// cluster, and what one that is wrong can do is to end a token early or late.
func (m *machine) putJoinToken(c *metadatapb.PutJoinToken) error {
	id, t, now := c.GetTokenId(), c.GetToken(), c.GetNowMs()
	switch {
	case len(id) != joinTokenIDBytes || len(t.GetSecretSha256()) != sha256.Size:
		return mq.Errorf(mq.InvalidRequest, "a join token has an id of %d bytes and a hash of %d", joinTokenIDBytes, sha256.Size)
	case t.GetNodeId() < 1:
		return mq.Errorf(mq.InvalidRequest, "join token: node id %d: it must be at least 1", t.GetNodeId())
	case now < 0 || t.GetExpiresMs() <= now || t.GetExpiresMs()-now > MaxJoinTokenMillis:
		return mq.Errorf(mq.InvalidRequest, "join token: it lives for %d ms at most, and longer than no time", int64(MaxJoinTokenMillis))
	}
	there := &metadatapb.JoinToken{}
	if m.db.get(bucketJoinTokens, id, there) {
		if sameJoinToken(there, t.GetSecretSha256(), t.GetNodeId()) && there.GetExpiresMs() == t.GetExpiresMs() {
			return nil // the answer to an earlier proposal was lost
		}
		return mq.Errorf(mq.InvalidRequest, "join token %x: there is another one of this id", id)
	}
	var expired [][]byte
	left := 0
	each(m.db, bucketJoinTokens, there, func(key []byte, t *metadatapb.JoinToken) {
		if t.GetExpiresMs() <= now {
			expired = append(expired, append([]byte(nil), key...))
		} else {
			left++
		}
	})
	if left >= MaxJoinTokens {
		return mq.Errorf(mq.TooManyRequests, "%d join tokens wait for their nodes: another can be made when one was used or has expired", left)
	}
	for _, key := range expired {
		m.db.del(bucketJoinTokens, key)
	}
	m.db.put(bucketJoinTokens, id, &metadatapb.JoinToken{SecretSha256: t.GetSecretSha256(), NodeId: t.GetNodeId(), ExpiresMs: t.GetExpiresMs()})
	return nil
}

// useJoinToken tells nobody why a token is not taken: not whether it is there, is another node's, or has expired.
func (m *machine) useJoinToken(c *metadatapb.UseJoinToken) error {
	t := &metadatapb.JoinToken{}
	found := len(c.GetTokenId()) == joinTokenIDBytes && m.db.get(bucketJoinTokens, c.GetTokenId(), t)
	if !found || !sameJoinToken(t, c.GetSecretSha256(), c.GetNodeId()) || t.GetExpiresMs() <= c.GetNowMs() {
		return mq.Errorf(mq.ClusterAuthorizationFailed, "no such join token is waiting for node %d", c.GetNodeId())
	}
	m.db.del(bucketJoinTokens, c.GetTokenId())
	return nil
}

// forgetJoinTokens forgets all.
func (m *machine) forgetJoinTokens() {
	var all [][]byte
	each(m.db, bucketJoinTokens, &metadatapb.JoinToken{}, func(key []byte, _ *metadatapb.JoinToken) { all = append(all, append([]byte(nil), key...)) })
	for _, key := range all {
		m.db.del(bucketJoinTokens, key)
	}
}

func sameJoinToken(t *metadatapb.JoinToken, hash []byte, node int32) bool {
	return subtle.ConstantTimeCompare(t.GetSecretSha256(), hash) == 1 && t.GetNodeId() == node
}

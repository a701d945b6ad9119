package metadata

import (
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// tokens are the numbers of the join tokens that are kept, in order.
func (b *bench) tokens() []byte {
	b.t.Helper()
	var ids []byte
	err := b.store.view(func(d *db) {
		each(d, bucketJoinTokens, &metadatapb.JoinToken{}, func(key []byte, _ *metadatapb.JoinToken) { ids = append(ids, key[len(key)-1]) })
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return ids
}

func TestJoinTokenIsUsedOnce(t *testing.T) {
	b := newCluster(t, 1)
	b.must(putTokenCommand(1, 7, 1000, 2000))
	b.must(putTokenCommand(1, 7, 1500, 2000)) // the answer was lost
	for name, c := range map[string]*metadatapb.Command{
		"another node":                 useTokenCommand(1, 8, 1000),
		"another token":                useTokenCommand(2, 7, 1000),
		"at its end":                   useTokenCommand(1, 7, 2000),
		"another secret":               {Kind: &metadatapb.Command_UseJoinToken{UseJoinToken: &metadatapb.UseJoinToken{TokenId: tokenIDOf(1), SecretSha256: secretOf(2), NodeId: 7}}},
		"no secret":                    {Kind: &metadatapb.Command_UseJoinToken{UseJoinToken: &metadatapb.UseJoinToken{TokenId: tokenIDOf(1), NodeId: 7}}},
		"no id":                        {Kind: &metadatapb.Command_UseJoinToken{UseJoinToken: &metadatapb.UseJoinToken{SecretSha256: secretOf(1), NodeId: 7}}},
		"the hash of the hash, at all": {Kind: &metadatapb.Command_UseJoinToken{}},
	} {
		t.Run(name, func(*testing.T) { b.refuse(mq.ClusterAuthorizationFailed, c) })
	}
	// Two nodes are told the same secret, at the same time: one batch of two commands.
	two := b.apply(encode(t, useTokenCommand(1, 7, 1999)), encode(t, useTokenCommand(1, 7, 1999)))
	if _, err := DecodeResult(two[0]); err != nil {
		t.Error(err)
	}
	if _, err := DecodeResult(two[1]); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
		t.Errorf("a token is used twice: %v", err)
	}
	b.refuse(mq.ClusterAuthorizationFailed, useTokenCommand(1, 7, 0))
}

func TestJoinTokensAreFewAndEnd(t *testing.T) {
	b := newCluster(t, 1)
	put := func(n int, now, expires int64) *metadatapb.Command {
		c := putTokenCommand(byte(n), 7, now, expires)
		c.GetPutJoinToken().GetTokenId()[0] = byte(n >> 8)
		return c
	}
	for name, c := range map[string]*metadatapb.Command{
		"no life":     put(0, 1000, 1000),
		"too long":    put(0, 1000, 1001+MaxJoinTokenMillis),
		"overflow":    put(0, -1000, 1<<63-1),
		"node 0":      putTokenCommand(0, 0, 0, 1000),
		"a short id":  {Kind: &metadatapb.Command_PutJoinToken{PutJoinToken: &metadatapb.PutJoinToken{TokenId: tokenIDOf(1)[1:], Token: put(1, 0, 1).GetPutJoinToken().GetToken()}}},
		"no hash":     {Kind: &metadatapb.Command_PutJoinToken{PutJoinToken: &metadatapb.PutJoinToken{TokenId: tokenIDOf(1), Token: &metadatapb.JoinToken{NodeId: 1, ExpiresMs: 1}}}},
		"no token":    {Kind: &metadatapb.Command_PutJoinToken{PutJoinToken: &metadatapb.PutJoinToken{TokenId: tokenIDOf(1)}}},
		"no anything": {Kind: &metadatapb.Command_PutJoinToken{}},
	} {
		t.Run(name, func(*testing.T) { b.refuse(mq.InvalidRequest, c) })
	}
	for n := range MaxJoinTokens {
		b.must(put(n, 1000, 2000+int64(n%2)))
	}
	b.refuse(mq.InvalidRequest, put(5, 1000, 2000)) // there is another one of this id
	b.refuse(mq.TooManyRequests, put(MaxJoinTokens, 1999, 3000))
	b.must(put(MaxJoinTokens, 2000, 3000)) // half have ended, and are forgotten
	if got := len(b.tokens()); got != MaxJoinTokens/2+1 {
		t.Errorf("%d tokens are kept", got)
	}
	b.must(put(MaxJoinTokens, 2000, 3000)) // there is no limit on saying it again
	checkReload(t, b.store)
}

// A cluster in which an older program may run knows no join tokens.
func TestJoinTokensNeedTheirFeatureLevel(t *testing.T) {
	b := newBench(t)
	form := formCommand()
	form.GetFormCluster().FeatureLevel = 1
	b.must(form)
	b.must(registerCommand(1, 1))
	b.refuse(mq.UnsupportedVersion, putTokenCommand(1, 7, 1000, 2000))
	b.refuse(mq.UnsupportedVersion, useTokenCommand(1, 7, 1000))
	b.must(levelCommand(2))
	b.must(putTokenCommand(1, 7, 1000, 2000))
	b.must(useTokenCommand(1, 7, 1000))
}

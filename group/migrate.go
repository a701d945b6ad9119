package group

import "github.com/rustmq/rustmq/mq"

// upgrade makes a classic group with members one of the consumer protocol.
func (s *Shard) upgrade(g *group) error {
	return mq.Errorf(mq.InconsistentGroupProtocol, "group %q has %d members with the classic protocol", g.id, g.size())
}

// joinMixed takes a member with the classic protocol into a group with the consumer protocol.
func (s *Shard) joinMixed(_ Token, g *group, _ *JoinRequest) (Response, error) {
	return nil, mq.Errorf(mq.InconsistentGroupProtocol, "group %q has %d members with the consumer protocol", g.id, g.size())
}

func (s *Shard) heartbeatMixed(g *group, r *ClassicHeartbeatRequest) (*DoneResponse, error) {
	return nil, g.unknown(r.Member)
}

func (s *Shard) syncMixed(g *group, r *SyncRequest) (*SyncResponse, error) {
	return nil, g.unknown(r.Member)
}

func (s *Shard) afterRemoval(*group) {}

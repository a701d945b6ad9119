package group

import "github.com/rustmq/rustmq/mq"

// leave takes members out of a group.
func (s *Shard) leave(r *LeaveRequest) (*LeaveResponse, error) {
	g, ok := s.named(r.Group)
	response := &LeaveResponse{Errors: make([]error, len(r.Members))}
	for i, leaving := range r.Members {
		switch {
		case !ok:
			response.Errors[i] = mq.Errorf(mq.UnknownMemberID, "group %q has no member %.80q", r.Group, leaving.Member)
		case g.protocol == ProtocolConsumer:
			response.Errors[i] = s.leaveOne(g, leaving)
		default:
			response.Errors[i] = s.leaveClassic(g, leaving)
		}
	}
	return response, nil
}

func (s *Shard) leaveOne(g *group, leaving LeavingMember) error {
	m := g.members[leaving.Member]
	if leaving.Instance != "" {
		m = g.instances[leaving.Instance]
		if m != nil && leaving.Member != "" && m.id != leaving.Member {
			return g.checkInstance(leaving.Member, leaving.Instance)
		}
	}
	if m == nil {
		return g.unknown(leaving.Member)
	}
	g.putOut(s, m) // it may be somebody else who wants that
	return nil
}

func (s *Shard) leaveClassic(g *group, leaving LeavingMember) error {
	c := g.classic
	if _, pending := c.pending[leaving.Member]; pending && leaving.Instance == "" {
		delete(c.pending, leaving.Member)
		g.touch(s)
		s.maybeFormed(g)
		return nil
	}
	id := leaving.Member
	if m := c.instances[leaving.Instance]; m != nil && id == "" {
		id = m.id
	}
	m, err := c.member(g, id, leaving.Instance)
	if err != nil {
		return err
	}
	s.removeClassic(g, m)
	return nil
}

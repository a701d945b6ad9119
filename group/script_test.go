package group

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	grouppb "github.com/rustmq/rustmq/api/group/v1"
	"github.com/rustmq/rustmq/mq"
)

// Scripts are testdata/*.script: blocks of commands, and below "----" all that came of them. Every reply names the command that it answers.
func TestScriptsOfRebalancesGoAsWritten(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".script"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			s := newScript(t)
			for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
				input, _, found := strings.Cut(block, "----")
				if !found {
					fmt.Fprintf(&out, "%s\n\n", block) // a comment
					continue
				}
				s.out.Reset()
				for line := range strings.SplitSeq(strings.TrimSpace(input), "\n") {
					s.run(line)
				}
				fmt.Fprintf(&out, "%s\n----\n%s\n", strings.TrimSpace(input), s.out.String())
			}
			golden(t, filepath.Base(file), strings.TrimRight(out.String(), "\n")+"\n")
		})
	}
}

type script struct {
	t      *testing.T
	shard  *Shard
	now    time.Time
	topics []Topic
	ver    uint64
	token  Token
	calls  map[Token]string
	log    []Record
	out    strings.Builder
}

func newScript(t *testing.T) *script {
	s := &script{t: t, shard: NewShard(DefaultConfig(), nil), now: start, calls: make(map[Token]string)}
	if err := s.shard.Loaded(start); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *script) run(line string) {
	words := strings.Fields(line)
	opts := make(map[string]string)
	var args []string
	for _, w := range words[1:] {
		if key, value, ok := strings.Cut(w, "="); ok {
			opts[key] = value
		} else {
			args = append(args, w)
		}
	}
	switch {
	case strings.HasPrefix(words[0], "#"):
	case strings.HasPrefix(words[0], "+"):
		s.pass(words[0][1:])
	case words[0] == "topics":
		for _, w := range words[1:] {
			name, n, _ := strings.Cut(w, "=")
			s.topics = slices.DeleteFunc(s.topics, func(t Topic) bool { return t.Name == name })
			s.topics = append(s.topics, testTopic(name, int32(s.number(n))))
		}
		s.ver++
		s.shard.SetTopics(s.now, NewTopics(s.ver, slices.Clone(s.topics)))
		s.effects(s.shard.Tick(s.now))
	case words[0] == "config":
		cfg := DefaultConfig()
		if size := opts["size"]; size != "" {
			cfg.MaxSize = s.number(size)
		}
		if list := opts["assignors"]; list != "" {
			cfg.Assignors = strings.Split(list, ",")
		}
		s.shard.Configure(cfg)
	case words[0] == "failover":
		s.replay()
	case words[0] == "snapshot":
		for step := SnapshotBegun; step != SnapshotEnded; {
			var fx Effects
			fx, step = s.shard.Snapshot(1 << 20)
			s.effects(fx)
		}
	default:
		s.token++
		s.calls[s.token] = strings.Join(words[:min(2, len(words))], " ")
		s.effects(s.shard.Handle(s.now, s.token, s.request(words[0], args, opts)))
	}
}

func (s *script) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// pass lets time pass, with everything that falls due on its way at its time.
func (s *script) pass(text string) {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	end := s.now.Add(d)
	for {
		at, ok := s.shard.Deadline()
		if !ok || at.After(end) {
			break
		}
		if at.After(s.now) {
			s.now = at
		}
		fx := s.shard.Tick(s.now)
		if len(fx.Records)+len(fx.Replies)+len(fx.Wakes) > 0 {
			fmt.Fprintf(&s.out, "at %v\n", s.now.Sub(start))
		}
		s.effects(fx)
	}
	s.now = end
}

func (s *script) replay() {
	s.shard = NewShard(DefaultConfig(), nil)
	for i, r := range s.log {
		if err := s.shard.Replay(mq.Offset(i), r); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.shard.Loaded(s.now); err != nil {
		s.t.Fatal(err)
	}
	s.ver++
	s.shard.SetTopics(s.now, NewTopics(s.ver, slices.Clone(s.topics)))
	s.effects(s.shard.Tick(s.now))
}

func (s *script) request(name string, args []string, opts map[string]string) Request {
	member := ""
	if len(args) > 0 && args[0] != "-" {
		member = args[0]
	}
	generation := NoGeneration
	if opts["gen"] != "" {
		generation = int32(s.number(opts["gen"]))
	}
	switch name {
	case "beat":
		r := &HeartbeatRequest{Group: "g", Member: member, Epoch: int32(s.number(opts["epoch"])), Instance: opts["instance"], Rack: opts["rack"]}
		if topics, ok := opts["topics"]; ok {
			r.Topics = strings.Split(topics, ",")
			r.RebalanceTimeout = time.Minute
		}
		if pattern, ok := opts["pattern"]; ok {
			r.Pattern = &pattern
			r.RebalanceTimeout = time.Minute
		}
		if assignor, ok := opts["assignor"]; ok {
			r.Assignor = &assignor
		}
		if owned, ok := opts["owned"]; ok {
			r.Owned = s.partitions(owned)
		}
		return r
	case "commit":
		r := &CommitRequest{Group: "g", Member: member, Generation: generation}
		for _, w := range args[1:] { // topic:partition:offset[:metadata]
			f := strings.Split(w, ":")
			o := Offset{Partition: int32(s.number(f[1])), Offset: mq.Offset(s.number(f[2])), LeaderEpoch: mq.NoEpoch}
			if len(f) > 3 {
				o.Metadata = f[3]
			}
			r.Topics = append(r.Topics, TopicOffsets{Topic: f[0], ID: testTopic(f[0], 1).ID, Offsets: []Offset{o}})
		}
		return r
	case "fetch":
		return &FetchRequest{Group: "g", Member: member, Generation: generation}
	case "join":
		r := &JoinRequest{
			Group: "g", Member: member, NewMember: opts["new"], Instance: opts["instance"], RequireMember: slices.Contains(args, "require"),
			SkipAssignment: slices.Contains(args, "skip"), SessionTimeout: 10 * time.Second, RebalanceTimeout: 30 * time.Second, ProtocolType: "consumer",
		}
		for _, p := range strings.Split(opts["protocols"], "|") {
			name, metadata, _ := strings.Cut(p, ":")
			r.Protocols = append(r.Protocols, ClassicProtocol{Name: name, Metadata: s.metadata(metadata)})
		}
		return r
	case "sync":
		r := &SyncRequest{Group: "g", Member: member, Instance: opts["instance"], Generation: generation, ProtocolType: opts["type"], Protocol: opts["protocol"]}
		for _, w := range args[1:] {
			id, assignment, _ := strings.Cut(w, ":")
			a := ClassicAssignment{Member: id, Assignment: []byte(assignment)}
			if set, ok := strings.CutPrefix(assignment, "+"); ok {
				a.Assignment = s.shard.writeAssignment(s.partitions(set))
			}
			r.Assignments = append(r.Assignments, a)
		}
		return r
	case "heartbeat":
		return &ClassicHeartbeatRequest{Group: "g", Member: member, Instance: opts["instance"], Generation: generation}
	case "leave":
		r := &LeaveRequest{Group: "g"}
		for _, w := range args {
			id, instance, _ := strings.Cut(w, "/")
			r.Members = append(r.Members, LeavingMember{Member: id, Instance: instance})
		}
		return r
	case "reset":
		return &ResetRequest{Group: "g", Topics: []TopicOffsets{{Topic: args[0], Offsets: []Offset{{LeaderEpoch: mq.NoEpoch}}}}}
	case "delete-offsets":
		return &DeleteOffsetsRequest{Group: "g", Topics: []TopicIndexes{{Topic: args[0], Partitions: []int32{0}}}}
	case "delete":
		return &DeleteGroupRequest{Group: "g"}
	case "list":
		return &ListRequest{}
	case "describe":
		return &DescribeRequest{Group: "g"}
	}
	s.t.Fatalf("no command %s", name)
	return nil
}

// metadata is a subscription for "+orders@orders:0,1", and else what it says.
func (s *script) metadata(text string) []byte {
	if text, ok := strings.CutPrefix(text, "+"); ok {
		topic, has, _ := strings.Cut(text, "@")
		owned := make(map[string][]int32)
		if has != "" {
			owned[topic] = s.partitions(has)[0].Partitions
		}
		return subscriptionOf([]string{topic}, owned)
	}
	return []byte(text)
}

// partitions reads "orders:0,1;sales:2", and "none".
func (s *script) partitions(text string) Partitions {
	set := Partitions{}
	if text == "none" {
		return set
	}
	for part := range strings.SplitSeq(text, ";") {
		topic, indexes, _ := strings.Cut(part, ":")
		one := TopicPartitions{Topic: testTopic(topic, 1).ID}
		for index := range strings.SplitSeq(indexes, ",") {
			one.Partitions = append(one.Partitions, int32(s.number(index)))
		}
		set = append(set, one)
	}
	return set
}

func (s *script) effects(fx Effects) {
	for _, r := range fx.Records {
		s.log = append(s.log, r)
		decoded, err := decodeRecord(r.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		fmt.Fprintf(&s.out, "  record: %s\n", s.recordText(decoded))
	}
	for _, r := range fx.Replies {
		fmt.Fprintf(&s.out, "%s -> ", s.calls[r.Token])
		if r.Err != nil {
			fmt.Fprintf(&s.out, "%v ", r.Err)
		}
		fmt.Fprintf(&s.out, "%s\n", s.responseText(r.Response))
		delete(s.calls, r.Token)
	}
	for _, w := range fx.Wakes {
		fmt.Fprintf(&s.out, "wake %s\n", w.Member)
	}
}

func setText(p Partitions) string {
	var all []string
	for _, t := range p {
		all = append(all, strings.TrimRight(string(t.Topic[:]), "\x00")+strings.ReplaceAll(fmt.Sprint(t.Partitions), " ", ","))
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ";")
}

func pbSetText(pb []*grouppb.TopicPartitions) string {
	set, err := partitionsFrom(pb)
	if err != nil {
		return err.Error()
	}
	return setText(set)
}

// assignmentText is a set of partitions where it is one.
func (s *script) assignmentText(b []byte) string {
	if set, err := s.shard.readAssignment(b); err == nil {
		return setText(set)
	}
	return strconv.Quote(string(b))
}

func (s *script) responseText(r Response) string {
	switch r := r.(type) {
	case *HeartbeatResponse:
		if !r.Changed {
			return fmt.Sprintf("epoch %d", r.Epoch)
		}
		return fmt.Sprintf("epoch %d, assigned %s", r.Epoch, setText(r.Assigned))
	case *JoinResponse:
		text := fmt.Sprintf("member %s, generation %d, %s, leader %s", r.Member, r.Generation, r.Protocol, r.Leader)
		for _, m := range r.Members {
			text += fmt.Sprintf(", %s%s", m.Member, m.Instance)
		}
		if r.SkipAssignment {
			text += ", skip assignment"
		}
		return text
	case *SyncResponse:
		return fmt.Sprintf("%s %s", r.Protocol, s.assignmentText(r.Assignment))
	case *LeaveResponse:
		return fmt.Sprint(r.Errors)
	case *CommitResponse:
		return fmt.Sprint(r.Topics)
	case *FetchResponse:
		var all []string
		for _, t := range r.Topics {
			for _, o := range t.Offsets {
				all = append(all, fmt.Sprintf("%s-%d=%d%s", t.Topic, o.Partition, o.Offset, o.Metadata))
			}
		}
		return strings.Join(all, " ")
	case *DeleteOffsetsResponse:
		return fmt.Sprint(r.Topics)
	case *DoneResponse:
		return "done"
	case *ListResponse:
		return fmt.Sprintf("%+v", r.Groups)
	case *DescribeResponse:
		text := fmt.Sprintf("%s %s, epoch %d, target %d, %s, leader %q", r.Protocol, r.State, r.Epoch, r.TargetEpoch, r.Assignor, r.Leader)
		for _, m := range r.Members {
			text += fmt.Sprintf("\n  %s%s epoch %d classic %t: assigned %s, revoking %s, target %s", m.Member, m.Instance, m.Epoch, m.Classic,
				setText(m.Assigned), setText(m.Revoking), setText(m.Target))
		}
		return text
	}
	return ""
}

func (s *script) recordText(r *grouppb.Record) string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	switch k := r.GetKind().(type) {
	case *grouppb.Record_Removed:
		add("group removed")
	case *grouppb.Record_SnapshotBegin:
		add("snapshot %d begins", k.SnapshotBegin.GetId())
	case *grouppb.Record_SnapshotEnd:
		add("snapshot %d ends", k.SnapshotEnd.GetId())
	}
	c := r.GetChange()
	if h := c.GetHead(); h != nil {
		add("%s epoch %d target %d empty %t", Protocol(h.GetProtocol()), h.GetGroupEpoch(), h.GetTargetEpoch(), h.GetEmptySinceMs() > 0)
	}
	for _, id := range c.GetRemovedMembers() {
		add("%s removed", id)
	}
	for _, m := range c.GetMembers() {
		add("%s epoch %d after %d assigned %s revoking %s", m.GetId(), m.GetEpoch(), m.GetPreviousEpoch(), pbSetText(m.GetAssigned()), pbSetText(m.GetRevoking()))
	}
	for _, t := range c.GetTargets() {
		add("target of %s %s", t.GetMember(), pbSetText(t.GetPartitions()))
	}
	if k := c.GetClassic(); k != nil {
		text := fmt.Sprintf("generation %d %s leader %q", k.GetGeneration(), k.GetProtocol(), k.GetLeader())
		for _, m := range k.GetMembers() {
			text += fmt.Sprintf(" %s %s", m.GetId(), s.assignmentText(m.GetAssignment()))
		}
		if k.GetRebalance() {
			text += " is over"
		}
		add("%s", text)
	}
	for _, t := range c.GetRemovedOffsets() {
		add("%s%v forgotten", t.GetTopic(), t.GetPartitions())
	}
	for _, t := range c.GetOffsets() {
		for _, o := range t.GetOffsets() {
			add("%s-%d=%d", t.GetTopic(), o.GetPartition(), o.GetOffset())
		}
	}
	return strings.Join(all, "; ")
}

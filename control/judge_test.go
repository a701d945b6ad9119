package control

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

var testCluster = mq.ClusterID{0xc1, 15: 1}

// ledger is a metadata store that takes commands without a raft log.
type ledger struct {
	t     testing.TB
	store *metadata.Store
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	s, err := metadata.Open(metadata.Options{Path: filepath.Join(t.TempDir(), "metadata.db"), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &ledger{t, s}
}

func (l *ledger) apply(data []byte) []byte {
	l.t.Helper()
	at := raft.Position{Index: l.store.Position().Index + 1, Term: 1, Conf: []byte("conf")}
	results, err := l.store.Apply([]raft.Entry{{Index: at.Index, Term: 1, Data: data}}, at)
	if err != nil {
		l.t.Fatal(err)
	}
	return results[0]
}

func (l *ledger) must(c *metadatapb.Command) *metadatapb.Result {
	l.t.Helper()
	result, err := metadata.DecodeResult(l.apply(encode(l.t, c)))
	if err != nil {
		l.t.Fatal(err)
	}
	return result
}

func encode(t testing.TB, c *metadatapb.Command) []byte {
	t.Helper()
	data, err := metadata.EncodeCommand(c)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func formCommand() *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_FormCluster{FormCluster: &metadatapb.FormCluster{ClusterId: testCluster[:], FeatureLevel: 1}}}
}

func addressOf(node mq.NodeID) string { return fmt.Sprintf("node-%d:9093", node) }

func registrationOf(node mq.NodeID, incarnation uint64) *metadatapb.RegisterBroker {
	dir := mq.DirID{0xd1, byte(node)}
	return &metadatapb.RegisterBroker{
		ClusterId: testCluster[:], NodeId: int32(node), Incarnation: incarnation, DirId: dir[:], MaxFeatureLevel: metadata.FeatureLevel,
		Endpoints: []*metadatapb.Endpoint{{Listener: "rpc", Host: fmt.Sprintf("node-%d", node), Port: 9093}},
	}
}

func registerCommand(node mq.NodeID, incarnation uint64) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: registrationOf(node, incarnation)}}
}

func (l *ledger) fence(node mq.NodeID, epoch uint64) {
	l.t.Helper()
	l.must(&metadatapb.Command{Kind: &metadatapb.Command_FenceBroker{FenceBroker: &metadatapb.FenceBroker{NodeId: int32(node), BrokerEpoch: epoch}}})
}

func (l *ledger) epoch(node mq.NodeID) uint64 { return l.store.Image().Broker(node).Epoch }

func defaultTiming(t testing.TB) Timing {
	t.Helper()
	timing, err := Timing{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return timing
}

const ms = time.Millisecond

// stand is a judge over brokers 1 to 3, which leads since 0.
type stand struct {
	*ledger
	j   *judge
	now time.Duration
}

func newStand(t *testing.T) *stand {
	l := newLedger(t)
	l.must(formCommand())
	for node := range mq.NodeID(3) {
		l.must(registerCommand(node+1, 1))
	}
	s := &stand{ledger: l, j: newJudge(defaultTiming(t))}
	s.j.lead(0, l.store.Image())
	return s
}

// at moves the time on, in ticks, and gives what is ordered then.
func (s *stand) at(now time.Duration) (dials []dialOrder, fences []fenceOrder) {
	for s.now < now {
		s.now = min(now, s.now+s.j.timing.Tick)
		s.j.sync(s.now, s.store.Image())
		s.j.tick(s.now)
		d, f := s.j.orders(s.now)
		dials, fences = append(dials, d...), append(fences, f...)
	}
	return dials, fences
}

func (s *stand) beat(node mq.NodeID, stream uint64) time.Duration {
	s.t.Helper()
	s.j.confirm(s.now)
	lease, _, err := s.j.hear(s.now, heartbeat{node: node, epoch: s.epoch(node), stream: stream}, s.store.Image())
	if err != nil {
		s.t.Fatal(err)
	}
	return lease
}

func nodesOf(fences []fenceOrder) string {
	var nodes []mq.NodeID
	for _, f := range fences {
		nodes = append(nodes, f.node)
	}
	return fmt.Sprint(nodes)
}

func TestJudgeFencesWhoIsSilentForASession(t *testing.T) {
	s := newStand(t)
	for now := time.Duration(0); now <= 1400*ms; now += 100 * ms {
		if _, fences := s.at(now); len(fences) > 0 {
			t.Fatalf("at %v: %v", now, fences)
		}
		for node := range mq.NodeID(2) {
			if lease := s.beat(node+1, 1); lease != s.j.timing.Lease {
				t.Fatalf("a lease of %v", lease)
			}
		}
	}
	if _, fences := s.at(1500 * ms); nodesOf(fences) != "[3]" || fences[0].epoch != s.epoch(3) {
		t.Fatalf("%v", fences)
	}
	if lease := s.beat(3, 9); lease != 0 {
		t.Errorf("a broker that is about to be fenced got a lease of %v", lease)
	}
	if _, fences := s.at(1600 * ms); len(fences) > 0 {
		t.Errorf("ordered twice: %v", fences)
	}
	if _, fences := s.at(1800 * ms); nodesOf(fences) != "[3]" {
		t.Errorf("what was not carried out is not ordered again: %v", fences)
	}
	s.fence(3, s.epoch(3))
	if _, fenced, err := s.j.hear(s.now, heartbeat{node: 3, epoch: s.epoch(3)}, s.store.Image()); !fenced || err != nil {
		t.Errorf("a fenced broker hears fenced %v, %v", fenced, err)
	}
	s.must(registerCommand(3, 2))
	if lease := s.beat(3, 10); lease != s.j.timing.Lease {
		t.Errorf("after it registered again it got a lease of %v", lease)
	}
	if _, _, err := s.j.hear(s.now, heartbeat{node: 3, epoch: 1}, s.store.Image()); mq.CodeOf(err) != mq.StaleBrokerEpoch {
		t.Errorf("an earlier epoch: %v", err)
	}
	if _, _, err := s.j.hear(s.now, heartbeat{node: 7, epoch: 1}, s.store.Image()); mq.CodeOf(err) != mq.StaleBrokerEpoch {
		t.Errorf("a broker that never registered: %v", err)
	}
}

// A broker that was silent and is heard of again goes on when the cluster could not take the command that fences it, and no other such command is in doubt.
func TestJudgePardonsWhoCannotBeFenced(t *testing.T) {
	s := newStand(t)
	var fences []fenceOrder
	for now := 100 * ms; now <= 1800*ms; now += 100 * ms {
		_, more := s.at(now)
		fences = append(fences, more...)
		s.beat(1, 1)
		s.beat(2, 1)
	}
	if nodesOf(fences) != "[3 3]" {
		t.Fatalf("%v", fences)
	}
	if lease := s.beat(3, 9); lease != 0 {
		t.Errorf("with two commands under way, a lease of %v", lease)
	}
	s.j.unfenced(fences[1])
	if lease := s.beat(3, 9); lease != 0 {
		t.Errorf("with one in doubt, a lease of %v", lease)
	}
	s.j.unfenced(fences[0])
	if lease := s.beat(3, 9); lease != s.j.timing.Lease {
		t.Errorf("with none, a lease of %v", lease)
	}
	if _, fences := s.at(s.now + s.j.timing.Session - 100*ms); nodesOf(fences) != "[]" {
		t.Errorf("pardoned, and fenced: %v", fences)
	}
	if _, fences := s.at(s.now + 100*ms); nodesOf(fences) != "[1 2 3]" {
		t.Errorf("silent again: %v", fences)
	}
}

func TestJudgeFencesAtOnceWhoRefusesADial(t *testing.T) {
	s := newStand(t)
	if dials, _ := s.at(50 * ms); len(dials) != 3 {
		t.Fatalf("a controller that begins to lead dials %v", dials)
	}
	for node := range mq.NodeID(3) {
		s.beat(node+1, uint64(node+1))
		s.j.dialed(s.now, dialOrder{node: node + 1, epoch: s.epoch(node + 1)}, true) // before its stream came up
	}
	s.beat(2, 7) // another stream of the same process
	s.j.broke(s.now, 2, s.epoch(2), 1)
	s.j.broke(s.now, 3, s.epoch(3)-1, 3)
	if dials, fences := s.at(100 * ms); len(dials)+len(fences) > 0 {
		t.Fatalf("the end of what is not the broker's stream has %v dialed and %v fenced", dials, fences)
	}
	s.j.broke(s.now, 2, s.epoch(2), 7)
	dials, _ := s.j.orders(s.now)
	if len(dials) != 1 || dials[0] != (dialOrder{2, s.epoch(2), addressOf(2)}) {
		t.Fatalf("%v", dials)
	}
	// Its listener may be open for a moment longer than the stream; later on it is asked less and less often.
	for _, pause := range []time.Duration{5 * ms, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 250 * ms, 250 * ms} {
		s.j.dialed(s.now, dials[0], false)
		if again, fences := s.at(s.now + pause - 1); len(again)+len(fences) > 0 {
			t.Fatalf("less than %v later a broker that takes calls is dialed %v, fenced %v", pause, again, fences)
		}
		if again, _ := s.at(s.now + 1); len(again) != 1 {
			t.Fatalf("it is not dialed again: %v", again)
		}
	}
	s.j.dialed(s.now, dials[0], true)
	if _, fences := s.j.orders(s.now); nodesOf(fences) != "[2]" {
		t.Errorf("%v", fences)
	}
}

func TestJudgeForgivesWhatItDidNotHear(t *testing.T) {
	s := newStand(t)
	s.at(100 * ms)
	s.beat(1, 1)
	s.now = 10 * time.Second // the process was stopped
	s.j.tick(s.now)
	if _, fences := s.j.orders(s.now); len(fences) > 0 {
		t.Fatalf("%v", fences)
	}
	if _, fences := s.at(13 * time.Second); nodesOf(fences[:3]) != "[2 3 1]" {
		t.Errorf("%v", fences)
	}
}

func TestLeaseIsShorterByTheAgeOfTheProof(t *testing.T) {
	s := newStand(t)
	hear := func() time.Duration {
		lease, _, err := s.j.hear(s.now, heartbeat{node: 1, epoch: s.epoch(1), stream: 1}, s.store.Image())
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	if lease := hear(); lease != 0 {
		t.Errorf("without a proof: %v", lease)
	}
	s.j.confirm(0)
	s.at(300 * ms)
	if lease := hear(); lease != s.j.timing.Lease-300*ms {
		t.Errorf("%v", lease)
	}
	s.j.yield()
	s.j.confirm(s.now)
	s.j.lead(s.now, s.store.Image())
	if lease := hear(); lease != 0 {
		t.Errorf("with a proof of an earlier term: %v", lease)
	}
}

func TestTimingThatDoesNotGoTogetherIsRefused(t *testing.T) {
	for _, timing := range []Timing{
		{Lease: 2 * time.Second},
		{Lease: 1900 * ms, Session: 2 * time.Second},
		{Answer: 1500 * ms},
		{Answer: 250 * ms},
		{Tick: -1},
	} {
		if _, err := timing.withDefaults(); mq.CodeOf(err) != mq.InvalidConfig {
			t.Errorf("%+v: %v", timing, err)
		}
	}
}

// universe is one broker and two controllers in true time, each with a clock of its own, and messages that take their time.
type universe struct {
	d      dice
	wrong  string
	l      *ledger
	now    time.Duration // true time
	broker struct {
		rate     float64
		leaseEnd time.Duration // by its clock
	}
	judges [2]struct {
		j     *judge
		rate  float64
		asked time.Duration // a proof that is under way, -1: none
		cut   bool          // from the broker
	}
	leader   int
	fenced   int
	ordered  []fenceOrder // and neither carried out nor refused
	requests []message    // heartbeats on their way
	answers  []message
}

type message struct {
	to    int
	sent  time.Duration // by the broker's clock
	lease time.Duration
}

func (u *universe) clock(i int) time.Duration {
	return time.Duration(float64(u.now)*u.judges[i].rate) + time.Duration(i)*time.Hour
}

func (u *universe) brokerClock() time.Duration { return time.Duration(float64(u.now) * u.broker.rate) }

// take removes a message from a list: they overtake each other.
func (u *universe) take(list *[]message) (m message, ok bool) {
	if len(*list) == 0 {
		return m, false
	}
	i := u.d(0, len(*list)-1)
	m = (*list)[i]
	*list = append((*list)[:i], (*list)[i+1:]...)
	return m, true
}

// step lets one thing happen.
func (u *universe) step() {
	i := u.d(0, 1)
	c := &u.judges[i]
	events := []string{
		"time", "time", "time", "time", "time", "time", "late", "exchange", "exchange", "exchange", "send", "hear", "heed", "proven", "proven", "ask",
		"proof", "cut", "elect", "notice", "commit", "commit", "refuse", "refuse",
	}
	switch events[u.d(0, len(events)-1)] {
	case "time": // in which controllers tick
		u.now += time.Duration(u.d(50, 200)) * ms
		u.tick(0)
		u.tick(1)
	case "late": // or do not
		u.now += time.Duration(u.d(1, 300)) * ms
	case "commit":
		u.commit()
	case "refuse": // the metadata have no room; another one may be in doubt
		if n := len(u.ordered); n > 0 {
			u.judges[u.leader].j.unfenced(u.ordered[n-1])
			u.ordered = u.ordered[:n-1]
		}
	case "cut":
		c.cut = u.d(0, 1) == 1
	case "proven":
		if i == u.leader && c.j.leading {
			c.j.confirm(u.clock(i))
		}
	case "exchange": // at once
		if !c.cut {
			u.hear(message{to: i, sent: u.brokerClock()}, func(m message) { u.heed(m) })
		}
	case "send":
		if !c.cut {
			u.requests = append(u.requests, message{to: i, sent: u.brokerClock()})
		}
	case "hear":
		if m, ok := u.take(&u.requests); ok {
			u.hear(m, func(m message) { u.answers = append(u.answers, m) })
		}
	case "heed":
		if m, ok := u.take(&u.answers); ok {
			u.heed(m)
		}
	case "ask":
		c.asked = u.clock(i)
	case "proof": // only who leads in truth is answered by a majority
		if c.asked >= 0 && i == u.leader && c.j.leading {
			c.j.confirm(c.asked)
		}
		c.asked = -1
	case "elect":
		if u.d(0, 3) == 0 && i != u.leader {
			// What the leader before had proposed is in the log of this one, and applied before it judges, or it is lost.
			if u.d(0, 1) == 1 {
				u.commit()
			}
			u.ordered, u.leader, c.asked = nil, i, -1
			c.j.lead(u.clock(i), u.l.store.Image())
		}
	case "notice": // a controller that was deposed does not know at once
		if i != u.leader && c.j.leading && u.d(0, 1) == 1 {
			c.j.yield()
			c.asked = -1
		}
	}
}

// hear has a heartbeat answered, by a controller that believes to lead.
func (u *universe) hear(m message, answer func(message)) {
	c := &u.judges[m.to]
	if !c.j.leading {
		return
	}
	lease, fenced, err := c.j.hear(u.clock(m.to), heartbeat{node: 1, epoch: u.l.epoch(1), stream: 1}, u.l.store.Image())
	if err == nil && !fenced {
		answer(message{sent: m.sent, lease: lease})
	}
}

func (u *universe) heed(m message) {
	if m.lease > 0 {
		u.broker.leaseEnd = max(u.broker.leaseEnd, m.sent+m.lease)
	}
}

// tick has a controller look at the time. What it orders takes effect some time later, if it leads in truth: by then no lease may be left.
func (u *universe) tick(i int) {
	c := &u.judges[i]
	if !c.j.leading {
		return
	}
	c.j.sync(u.clock(i), u.l.store.Image())
	c.j.tick(u.clock(i))
	_, fences := c.j.orders(u.clock(i))
	if i == u.leader {
		u.ordered = append(u.ordered, fences...)
	}
}

// commit has what was ordered take effect.
func (u *universe) commit() {
	fences := u.ordered
	u.ordered = nil
	if len(fences) == 0 || fences[0].epoch != u.l.epoch(1) {
		return
	}
	if left := u.broker.leaseEnd - u.brokerClock(); left > 0 {
		u.wrong = fmt.Sprintf("the broker is fenced at %v, and has a lease for %v", u.now, left)
		return
	}
	u.fenced++
	u.l.fence(1, fences[0].epoch)
	u.l.must(registerCommand(1, uint64(u.now)))
	u.requests, u.answers = nil, nil // of the epoch that is over
}

// Whatever the order in which things happen, however long messages take, with clocks that drift as much as they may, and with a controller
// that was deposed and does not know it: when a broker can be fenced its lease is over.
func TestLeaseIsOverBeforeTheBrokerCanBeFenced(t *testing.T) {
	v := newVerse(t)
	fenced := 0
	rapid.Check(t, func(rt *rapid.T) {
		u := v.live(func(low, high int) int { return rapid.IntRange(low, high).Draw(rt, "dice") }, planted{})
		if u.wrong != "" {
			rt.Fatal(u.wrong)
		}
		fenced += u.fenced
	})
	if fenced < 5 {
		t.Errorf("the broker was fenced %d times in all: the test shows nothing", fenced)
	}
}

// dice give a number from low to high.
type dice func(low, high int) int

// verse is where one universe comes after another.
type verse struct {
	l           *ledger
	incarnation uint64
}

func newVerse(t *testing.T) *verse {
	l := newLedger(t)
	l.must(formCommand())
	l.must(registerCommand(1, 1))
	return &verse{l, 1 << 40}
}

// live is the life of a universe.
func (v *verse) live(d dice, bugs planted) *universe {
	v.incarnation++
	v.l.fence(1, v.l.epoch(1))
	v.l.must(registerCommand(1, v.incarnation))
	u := &universe{d: d, l: v.l, now: time.Hour}
	rate := func() float64 { return 1 + float64(d(-1000, 1000))/1000*maxClockDriftPercent/100 }
	u.broker.rate = rate()
	for i := range u.judges {
		u.judges[i].j, u.judges[i].rate, u.judges[i].asked = newJudge(defaultTiming(v.l.t)), rate(), -1
		u.judges[i].j.planted = bugs
	}
	u.judges[0].j.lead(u.clock(0), v.l.store.Image())
	for steps := d(200, 1000); steps > 0 && u.wrong == ""; steps-- {
		u.step()
	}
	return u
}

// TestPlantedBugsAreFoundInUniverses puts bugs into the controllers and looks for the universe that shows them. Universes are the same
// each time: numbers 1, 9, 7 and 17.
func TestPlantedBugsAreFoundInUniverses(t *testing.T) {
	for what, c := range map[string]struct {
		bugs planted
		most uint64 // universes
	}{
		"no proof":                {planted{proofIgnored: true}, 100},
		"age of the proof":        {planted{ageIgnored: true}, 100},
		"condemned, and leased":   {planted{condemnedLeased: true}, 100},
		"silence of another term": {planted{sessionsKept: true}, 100},
		"doubt forgotten":         {planted{doubtForgotten: true}, 400},
	} {
		t.Run(what, func(t *testing.T) {
			v := newVerse(t)
			for seed := range c.most {
				random := rand.New(rand.NewPCG(seed, 11))
				if u := v.live(func(low, high int) int { return low + random.IntN(high-low+1) }, c.bugs); u.wrong != "" {
					t.Logf("universe %d: %s", seed, u.wrong)
					return
				}
			}
			t.Errorf("it was not found in %d universes", c.most)
		})
	}
}

func TestClockOfLeasesGoesOn(t *testing.T) {
	clock := BootClock()
	before := clock()
	for range 1000 {
		now := clock()
		if now < before {
			t.Fatalf("from %v back to %v", before, now)
		}
		before = now
	}
}

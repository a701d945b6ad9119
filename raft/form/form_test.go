package form

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
)

func TestRefusalsNameWhatIsWrong(t *testing.T) {
	own := brief{}.answer(0)
	other := brief{}.answer(1)
	prepared, formed := brief{phase: Prepared}, brief{phase: Formed}

	foreign := other
	foreign.Cluster = mq.ClusterID{8}
	otherList := prepared.answer(0)
	otherList.Controllers = named[:2]
	for what, c := range map[string]struct {
		own   Answer
		heard Answer
		code  mq.Code
	}{
		"another cluster":                             {own, foreign, mq.InconsistentClusterID},
		"a configuration that has changed":            {otherList, other, mq.WrongDataDir},
		"a directory that went back to an older copy": {own, formed.answer(1), mq.WrongDataDir},
	} {
		if d, err := Next(c.own, []Answer{c.heard}); mq.CodeOf(err) != c.code || d.Step != Wait {
			t.Errorf("%s: %v, %v", what, d, err)
		}
	}
	typo := brief{}.answer(2)
	typo.Controllers = []Controller{{1, "one:9093"}, {3, "three:9093"}}
	if d, err := Next(own, []Answer{other, typo}); err != nil || d.Step != Wait || d.Why == "" {
		t.Errorf("other lists: %v, %v", d, err)
	}
}

func TestAnswersThatCannotBeAreRefused(t *testing.T) {
	for what, change := range map[string]func(*Answer){
		"no cluster":             func(a *Answer) { a.Cluster = mq.ClusterID{} },
		"no directory":           func(a *Answer) { a.Dir = mq.DirID{} },
		"no controllers":         func(a *Answer) { a.Controllers = nil },
		"not one of them":        func(a *Answer) { a.Node = 9 },
		"twice the same":         func(a *Answer) { a.Controllers = []Controller{named[0], named[0]} },
		"node 0":                 func(a *Answer) { a.Node, a.Controllers = 0, []Controller{{0, "x:1"}} },
		"no address":             func(a *Answer) { a.Controllers = []Controller{{1, ""}} },
		"an unknown phase":       func(a *Answer) { a.State.Phase = 3 },
		"formed without a view":  func(a *Answer) { a.State.Phase = Formed },
		"unformed with a view":   func(a *Answer) { a.State.View.Cluster = worldCluster },
		"a view without cluster": func(a *Answer) { a.State = brief{phase: Formed}.answer(0).State; a.State.View.Cluster = mq.ClusterID{} },
		"a member without a disk": func(a *Answer) {
			a.State = brief{phase: Formed}.answer(0).State
			a.State.View.Members[1].Dir = mq.DirID{}
		},
	} {
		a := brief{}.answer(0)
		a.Controllers = slices.Clone(named)
		change(&a)
		if err := a.Check(); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestGroupsOfDifferentViewsDiffer(t *testing.T) {
	one, two := brief{phase: Formed}.answer(0).State.View, brief{phase: Formed, view: [3]byte{0, 0, 1}}.answer(0).State.View
	if one.Group() == two.Group() || one.Group() != (brief{phase: Formed}).answer(2).State.View.Group() {
		t.Error("a group is not that of its view")
	}
	if !slices.Equal(one.Peers(), []uint64{1, 2, 3}) {
		t.Errorf("peers %v", one.Peers())
	}
}

// answers is a network on which controllers ask each other.
type answers struct {
	mu    sync.Mutex
	state map[mq.NodeID]Answer
}

func (n *answers) publish(a Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state[a.Node] = a
}

func (n *answers) ask(_ context.Context, c Controller) (Answer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a, ok := n.state[c.Node]
	if !ok {
		return a, errors.New("nobody there")
	}
	return a, nil
}

func TestControllersFormWhenTheLastHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &answers{state: map[mq.NodeID]Answer{}}
		decided := make(chan Decision, 3)
		saves := make([][]Phase, 3)
		start := func(i int) {
			go func() {
				d, err := Run(t.Context(), Config{
					Self: brief{}.answer(i), Ask: n.ask, Publish: n.publish,
					Save: func(s State) error { saves[i] = append(saves[i], s.Phase); return nil },
				})
				if err != nil {
					t.Error(err)
				}
				decided <- d
			}()
		}
		start(0)
		start(1)
		time.Sleep(time.Minute)
		if len(decided) != 0 {
			t.Fatal("two of three formed a group")
		}
		start(2)
		first, second, third := <-decided, <-decided, <-decided
		if first.Step != Form || !first.View.Equal(second.View) || !first.View.Equal(third.View) || second.Step != Form || third.Step != Form {
			t.Errorf("%v, %v, %v", first, second, third)
		}
		for i, phases := range saves {
			if !slices.Equal(phases, []Phase{Prepared, Formed}) {
				t.Errorf("controller %d saved %v", i+1, phases)
			}
		}
		blank, err := Run(t.Context(), Config{Self: brief{dir: 1}.answer(2), Ask: n.ask, Save: func(State) error { return errors.New("it saves") }})
		if err != nil || blank.Step != Rejoin || !blank.View.Equal(first.View) {
			t.Errorf("one with an empty disk: %v, %v", blank, err)
		}
	})
}

func TestNothingIsAnsweredThatIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &answers{state: map[mq.NodeID]Answer{2: brief{}.answer(1), 3: brief{}.answer(2)}}
		full := mq.Errorf(mq.StorageFull, "no room")
		_, err := Run(t.Context(), Config{Self: brief{}.answer(0), Ask: n.ask, Publish: n.publish, Save: func(State) error { return full }})
		if mq.CodeOf(err) != mq.StorageFull || n.state[1].State.Phase != Unformed {
			t.Errorf("%v; answers %v", err, n.state[1].State)
		}
	})
}

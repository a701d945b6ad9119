package form

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
)

// world is three controllers: what their directories have, and the answers that each has got in the round that it is in. It is a value, so
// that worlds can be compared.
type world struct {
	nodes [3]controller
	wipes int
	bugs  planted
}

type controller struct {
	brief
	heard [3]brief // of the others, in this round
	has   [3]bool
}

// brief is an answer in short. A directory's id is its generation.
type brief struct {
	dir   byte
	phase Phase
	view  [3]byte // generations
}

var named = []Controller{{1, "one:9093"}, {2, "two:9093"}, {3, "three:9093"}}

var worldCluster = mq.ClusterID{7}

func dirOf(node int, generation byte) mq.DirID { return mq.DirID{byte(node + 1), generation + 1} }

func (b brief) answer(node int) Answer {
	a := Answer{Cluster: worldCluster, Node: mq.NodeID(node + 1), Dir: dirOf(node, b.dir), Controllers: named}
	if b.phase != Unformed {
		a.State = State{Phase: b.phase, View: View{Cluster: worldCluster}}
		for i, c := range named {
			a.State.View.Members = append(a.State.View.Members, Member{c, dirOf(i, b.view[i])})
		}
	}
	return a
}

// ask has a controller get another's present answer.
func (w world) ask(i, j int) world {
	w.nodes[i].heard[j], w.nodes[i].has[j] = w.nodes[j].brief, true
	return w
}

// decide ends a controller's round.
func (w world) decide(i int) (world, Decision, error) {
	n := &w.nodes[i]
	var answers []Answer
	for j := range n.heard {
		if n.has[j] {
			answers = append(answers, n.heard[j].answer(j))
		}
	}
	d, err := w.bugs.next(n.answer(i), answers)
	if err == nil && (d.Step == Prepare || d.Step == Form) {
		n.phase = Prepared
		if d.Step == Form {
			n.phase = Formed
		}
		for k, m := range d.View.Members {
			n.view[k] = m.Dir[1] - 1
		}
	}
	return w.crash(i), d, err
}

// crash ends a controller's process: it begins a new round.
func (w world) crash(i int) world {
	w.nodes[i].heard, w.nodes[i].has = [3]brief{}, [3]bool{}
	return w
}

// wipe gives a controller an empty directory.
func (w world) wipe(i int) world {
	w.wipes++
	w.nodes[i] = controller{brief: brief{dir: w.nodes[i].dir + 1}}
	return w
}

// check says what is wrong with a world.
func (w world) check() error {
	var formed []brief
	for _, n := range w.nodes {
		if n.phase == Formed {
			formed = append(formed, n.brief)
		}
	}
	for _, f := range formed {
		if f.view != formed[0].view {
			return fmt.Errorf("two groups: %v and %v", formed[0].view, f.view)
		}
	}
	for i, n := range w.nodes {
		if n.phase == Formed && n.view[i] != n.dir {
			return fmt.Errorf("node %d founded a group that its directory is not in", i+1)
		}
	}
	return nil
}

// settles says whether controllers that can all talk come to an end: each has formed, or is to rejoin those that have.
func (w world) settles() error {
	_, err := w.settle()
	return err
}

// settle has them all talk until they come to an end.
func (w world) settle() (world, error) {
	for range 4 {
		ended := 0
		for i := range w.nodes {
			for j := range w.nodes {
				if i != j {
					w = w.ask(i, j)
				}
			}
			var d Decision
			var err error
			if w, d, err = w.decide(i); err != nil {
				return w, err
			}
			if d.Step == Form || d.Step == Rejoin {
				ended++
			}
		}
		if err := w.check(); err != nil {
			return w, err
		}
		if ended == len(w.nodes) {
			return w, nil
		}
	}
	return w, fmt.Errorf("it does not come to an end: %+v", w)
}

// next are all worlds that one event makes of this one.
func (w world) next(wipes int) (worlds []world, err error) {
	for i := range w.nodes {
		for j := range w.nodes {
			if i != j && w.nodes[i].phase != Formed {
				worlds = append(worlds, w.ask(i, j))
			}
		}
		decided, _, err := w.decide(i)
		if err != nil {
			return nil, err
		}
		worlds = append(worlds, decided, w.crash(i))
		if w.wipes < wipes {
			worlds = append(worlds, w.wipe(i))
		}
	}
	return worlds, nil
}

// TestEveryInterleavingFormsOneGroup visits every world that three controllers can come to with every order of asking, deciding and crashing, and with
// one disk that is replaced at any moment.
func TestEveryInterleavingFormsOneGroup(t *testing.T) {
	wipes := 1
	if testing.Short() {
		wipes = 0
	}
	seen := map[world]bool{{}: true}
	queue := []world{{}}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		worlds, err := w.next(wipes)
		if err != nil {
			t.Fatalf("%+v: %v", w, err)
		}
		for _, next := range worlds {
			if seen[next] {
				continue
			}
			seen[next] = true
			if err := next.check(); err != nil {
				t.Fatalf("%v\nfrom %+v\nto   %+v", err, w, next)
			}
			if err := next.settles(); err != nil {
				t.Fatal(err)
			}
			queue = append(queue, next)
		}
	}
	t.Logf("%d worlds", len(seen))
}

// TestAnyStoryFormsOneGroup is of stories with more replaced disks than can all be visited.
func TestAnyStoryFormsOneGroup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		err := story(world{}, func(low, high int) int { return rapid.IntRange(low, high).Draw(t, "dice") })
		if err != nil {
			t.Fatal(err)
		}
	})
}

// story has things happen to a world, and says what is wrong with what it comes to.
func story(w world, dice func(low, high int) int) error {
	for range dice(1, 3) {
		for range dice(1, 40) {
			worlds, err := w.next(6)
			if err != nil {
				return err
			}
			w = worlds[dice(0, len(worlds)-1)]
			if err := w.check(); err != nil {
				return err
			}
		}
		var err error
		if w, err = w.settle(); err != nil {
			return err
		}
	}
	return nil
}

// TestPlantedBugsAreFoundInStories puts bugs in and looks for the story that shows them. Stories are the same each time: numbers 6, 51 and 1.
func TestPlantedBugsAreFoundInStories(t *testing.T) {
	for what, c := range map[string]struct {
		bugs planted
		most uint64 // stories
	}{
		"a blank one founds":       {planted{blankFounds: true}, 300},
		"founded when most agreed": {planted{mostFound: true}, 300},
		"founded when nobody did":  {planted{notAwaited: true}, 300},
	} {
		t.Run(what, func(t *testing.T) {
			for seed := range c.most {
				random := rand.New(rand.NewPCG(seed, 5))
				if err := story(world{bugs: c.bugs}, func(low, high int) int { return low + random.IntN(high-low+1) }); err != nil {
					t.Logf("story %d: %v", seed, err)
					return
				}
			}
			t.Errorf("it was not found in %d stories", c.most)
		})
	}
}

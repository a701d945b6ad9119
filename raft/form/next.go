package form

import (
	"fmt"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// Step is what a controller does after a round.
type Step uint8

// Steps.
const (
	Wait    Step = iota // ask again; Decision.Why says what for
	Prepare             // save Prepared with Decision.View, then ask again
	Form                // save Formed with Decision.View, then start raft with View.Peers
	Rejoin              // found nothing: ask the leader of the group of Decision.View for a learner's place, and save Formed with that view when it has a raft id
)

// Decision is what came of a round.
type Decision struct {
	Step Step
	View View
	Why  string // of Wait, for people
}

// Next decides what a controller does that is own, durably, and got these answers from others, to requests that it sent since it is own. Answers may be
// missing; each has passed [Answer.Check].
//
// Errors are for an operator, and waiting does not help: InconsistentClusterID when another controller is of another cluster; WrongDataDir when
// this directory agreed to other controllers than its configuration names, or is older than what it agreed to.
func Next(own Answer, answers []Answer) (Decision, error) { return planted{}.next(own, answers) }

// planted are bugs that tests put in, to see that they would be found.
type planted struct {
	blankFounds bool // a blank controller takes the place that its node had in the group
	mostFound   bool // a group is founded when most have agreed durably
	notAwaited  bool // it is founded before anybody has
}

func (p planted) next(own Answer, answers []Answer) (Decision, error) {
	if own.State.Phase == Formed {
		return Decision{Step: Form, View: own.State.View}, nil
	}
	if own.State.Phase == Prepared && !slices.Equal(own.Controllers, controllersOf(own.State.View)) {
		return Decision{}, mq.Errorf(mq.WrongDataDir,
			"form: this directory has agreed to %s: name these controllers, or begin with an empty directory", own.State.View)
	}
	for _, a := range answers {
		if a.Cluster != own.Cluster {
			return Decision{}, mq.Errorf(mq.InconsistentClusterID, "form: node %d is of cluster %s, this one of %s", a.Node, a.Cluster, own.Cluster)
		}
	}
	for _, a := range answers {
		if a.State.Phase == Formed {
			return p.follow(own, a.State.View)
		}
	}
	return p.agree(own, answers)
}

// follow is what is left to do once somebody has formed a view.
func (p planted) follow(own Answer, view View) (Decision, error) {
	switch {
	case view.Cluster != own.Cluster:
		return Decision{}, mq.Errorf(mq.InconsistentClusterID, "form: the group that exists is of cluster %s, this controller of %s", view.Cluster, own.Cluster)
	case p.blankFounds && !view.Has(own.Node, own.Dir):
		return Decision{Step: Form, View: view}, nil
	case !view.Has(own.Node, own.Dir):
		return Decision{Step: Rejoin, View: view}, nil
	case own.State.Phase == Unformed:
		// It was prepared, durably, before anybody could form this.
		return Decision{}, mq.Errorf(mq.WrongDataDir, "form: directory %s belongs to the group that exists and does not know it: an older copy was put in its place; "+
			"begin with an empty one", own.Dir)
	}
	return Decision{Step: Form, View: view}, nil
}

// agree is a step towards a view that all have.
func (p planted) agree(own Answer, answers []Answer) (Decision, error) {
	view := View{Cluster: own.Cluster}
	var said []Answer
	for _, c := range own.Controllers {
		a := own
		if c.Node != own.Node {
			i := slices.IndexFunc(answers, func(a Answer) bool { return a.Node == c.Node })
			if i < 0 {
				return Decision{Why: fmt.Sprintf("controller %d at %s has not answered", c.Node, c.Address)}, nil
			}
			a = answers[i]
		}
		if !slices.Equal(a.Controllers, own.Controllers) {
			return Decision{Why: fmt.Sprintf("controller %d names the controllers %v, this one %v: name the same everywhere",
				a.Node, a.Controllers, own.Controllers)}, nil
		}
		view.Members, said = append(view.Members, Member{Controller: c, Dir: a.Dir}), append(said, a)
	}
	agreed := 0
	for _, a := range said {
		if a.State.Phase == Prepared && a.State.View.Equal(view) {
			agreed++
		}
	}
	switch {
	case agreed == len(view.Members) || p.notAwaited || p.mostFound && agreed > len(view.Members)/2:
		return Decision{Step: Form, View: view}, nil
	case own.State.Phase != Prepared || !own.State.View.Equal(view):
		return Decision{Step: Prepare, View: view}, nil
	}
	return Decision{Why: "not all controllers have agreed yet"}, nil
}

func controllersOf(v View) []Controller {
	controllers := make([]Controller, len(v.Members))
	for i, m := range v.Members {
		controllers[i] = m.Controller
	}
	return controllers
}

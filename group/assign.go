package group

// Subscriber is a member, as an assignor sees it.
type Subscriber struct {
	Member, Instance, Rack string
	Topics                 []*Topic   // that it subscribes to, each once
	Has                    Partitions // what it was to have until now
}

// Assign says what each of the subscribers, by its place, is to have: every partition of every topic that anybody subscribes to is had by exactly one subscriber to it.
// It depends on nothing else, and gives the same for the same. An assignor that is not known is [AssignorUniform].
func Assign(assignor string, subscribers []Subscriber) []Partitions {
	if assignor == AssignorRange {
		return assignRange(subscribers)
	}
	return assignUniform(subscribers)
}

package mq

// ValidTopicName says whether name can be a topic's: 1 to 249 characters out of
// [a-zA-Z0-9._-], and neither "." nor ".." (Kafka's rules). The error has the
// code [InvalidTopic].
func ValidTopicName(name string) error {
	switch {
	case name == "":
		return Errorf(InvalidTopic, "the topic name is empty")
	case len(name) > MaxTopicNameBytes:
		return Errorf(InvalidTopic, "topic name %.40q...: %d characters, at most %d are allowed", name, len(name), MaxTopicNameBytes)
	case name == "." || name == "..":
		return Errorf(InvalidTopic, "topic name %q: not allowed", name)
	}
	for i := range len(name) {
		if c := name[i]; !isTopicNameByte(c) {
			return Errorf(InvalidTopic, "topic name %q: %q is not one of a-z A-Z 0-9 . _ -", name, rune(c))
		}
	}
	return nil
}

func isTopicNameByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == '-'
}

// OffsetsTopic is the internal topic in which coordinators of consumer groups keep what they know.
const OffsetsTopic = "__consumer_offsets"

// InternalTopic says whether a topic is one of the cluster's own: clients can read it, and nothing else.
func InternalTopic(name string) bool { return name == OffsetsTopic }

package group

import (
	"unicode/utf8"

	"github.com/rustmq/rustmq/mq"
)

// checkText refuses text that is too long or that a record could not hold.
func checkText(what, text string, most int) error {
	if len(text) > most {
		return mq.Errorf(mq.InvalidRequest, "%s of %d bytes, more than %d", what, len(text), most)
	}
	if !utf8.ValidString(text) {
		return mq.Errorf(mq.InvalidRequest, "%s %.40q is not UTF-8", what, text)
	}
	return nil
}

// checkNames refuses what of a member's names must not get into the log.
func checkNames(member, instance, rack, clientID, clientHost string) error {
	for _, n := range []struct {
		what, text string
		most       int
	}{
		{"member id", member, mq.MaxMemberIDBytes},
		{"instance id", instance, mq.MaxMemberIDBytes},
		{"rack", rack, mq.MaxMemberIDBytes},
		{"client id", clientID, mq.MaxMemberIDBytes},
		{"client host", clientHost, mq.MaxMemberIDBytes},
	} {
		if err := checkText(n.what, n.text, n.most); err != nil {
			return err
		}
	}
	return nil
}

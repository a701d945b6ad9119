package metadata

import (
	"errors"
	"fmt"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// groupCommand sets keys of a group, or unsets those whose value is empty.
func groupCommand(group string, pairs ...string) *metadatapb.Command {
	c := &metadatapb.AlterGroupConfigs{Group: group}
	for i := 0; i < len(pairs); i += 2 {
		c.Changes = append(c.Changes, &metadatapb.ConfigChange{Key: pairs[i], Value: pairs[i+1], Delete: pairs[i+1] == ""})
	}
	return &metadatapb.Command{Kind: &metadatapb.Command_AlterGroupConfigs{AlterGroupConfigs: c}}
}

const sessionKey, heartbeatKey = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"

func TestGroupsHaveSettingsOfTheirOwn(t *testing.T) {
	b := newCluster(t, 1)
	b.must(groupCommand("billing", sessionKey, "9000", heartbeatKey, "3000"))
	b.must(groupCommand("audit", heartbeatKey, "700"))
	b.must(groupCommand("billing", heartbeatKey, ""))
	b.refuse(mq.InvalidConfig, groupCommand("billing", "consumer.session.timeout", "9000"))
	b.refuse(mq.InvalidConfig, groupCommand("billing", heartbeatKey, "4501"))
	b.refuse(mq.InvalidConfig, groupCommand("billing", sessionKey, "999"))
	b.refuse(mq.InvalidGroupID, groupCommand("", sessionKey, "9000"))
	img := b.store.Image()
	if c := img.GroupConfig("billing"); c.SessionTimeoutMs != 9000 || c.HeartbeatIntervalMs != 0 || len(c.Overrides) != 1 {
		t.Errorf("%+v", c)
	}
	if c := img.GroupConfig("other"); c.SessionTimeoutMs != 0 || c.Group != "other" {
		t.Errorf("%+v", c)
	}
	checkReload(t, b.store)

	reader := NewImageReader(nil)
	got, _ := transfer(t, reader, nil, img)
	checkSame(t, got, img)
	b.must(groupCommand("audit", heartbeatKey, ""))
	got, _ = transfer(t, reader, img, b.store.Image())
	checkSame(t, got, b.store.Image())
	if n := got.groups.len(); n != 1 {
		t.Errorf("%d groups have settings", n)
	}
	checkReload(t, b.store)
}

func TestGroupsWithSettingsAreBounded(t *testing.T) {
	b := newCluster(t, 1)
	var commands [][]byte
	for i := range MaxGroupConfigs {
		commands = append(commands, encode(t, groupCommand(fmt.Sprint("group-", i), sessionKey, "9000")))
	}
	b.apply(commands...)
	b.refuse(mq.PolicyViolation, groupCommand("one more", sessionKey, "9000"))
	b.must(groupCommand("one more", sessionKey, "")) // nothing to it
	b.must(groupCommand("group-7", sessionKey, "8000"))
	b.must(groupCommand("group-7", sessionKey, ""))
	b.must(groupCommand("one more", sessionKey, "9000"))
	if n := b.store.Image().groups.len(); n != MaxGroupConfigs {
		t.Errorf("%d groups have settings", n)
	}
	reader, before := NewImageReader(nil), b.store.Image()
	got, _ := transfer(t, reader, nil, before) // more than a page
	checkSame(t, got, before)
	// What follows makes room and takes it, and the name of what came is before that of what went.
	b.must(groupCommand("one more", sessionKey, ""))
	b.must(groupCommand("another", sessionKey, "9000"))
	got, _ = transfer(t, reader, before, b.store.Image())
	checkSame(t, got, b.store.Image())
}

// A broker that knows less takes no image of which it would have to leave something out, and no lies.
func TestImageWithSettingsOfGroupsThatCannotBeIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		config *metadatapb.GroupConfig
		code   mq.Code
	}{
		"an unknown setting": {&metadatapb.GroupConfig{Group: "g", Configs: []*metadatapb.ConfigEntry{{Key: "consumer.colour", Value: "1"}}}, mq.UnsupportedVersion},
		"removed twice":      {&metadatapb.GroupConfig{Group: "g"}, mq.ProtocolViolation},
		"no name":            {&metadatapb.GroupConfig{}, mq.UnsupportedVersion},
	} {
		r := NewImageReader(nil)
		r.draft = newDraft(nil, &Image{})
		if err := r.groups(&metadatapb.ImagePage{GroupConfigs: []*metadatapb.GroupConfig{c.config}}); mq.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, errors.Unwrap(err))
		}
	}
}

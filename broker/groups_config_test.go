package broker_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// atNewestLevel has the cluster do all that this program can.
func (f *fixture) atNewestLevel() {
	f.t.Helper()
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
		ClusterId: clusterID[:], NodeId: int32(self), Incarnation: 2, DirId: bytes.Repeat([]byte{byte(self)}, 16), MaxFeatureLevel: metadata.FeatureLevel,
		Endpoints: []*metadatapb.Endpoint{{Listener: broker.ListenerQUIC, Host: "::1", Port: 9001}},
	}}})
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_SetFeatureLevel{SetFeatureLevel: &metadatapb.SetFeatureLevel{FeatureLevel: metadata.FeatureLevel}}})
}

func (f *fixture) alterGroup(name string, unset []string, set ...string) error {
	f.t.Helper()
	pairs := make(map[string]string)
	for i := 0; i < len(set); i += 2 {
		pairs[set[i]] = set[i+1]
	}
	_, err := f.operate(f.t.Context(), alice, &adminpb.Request{Kind: &adminpb.Request_AlterGroupConfig{
		AlterGroupConfig: &adminpb.AlterGroupConfigRequest{Group: name, Set: pairs, Unset: unset},
	}})
	return err
}

// groupSettings are "value" of each setting, or "value default".
func (f *fixture) groupSettings(name string) map[string]string {
	f.t.Helper()
	out := make(map[string]string)
	for _, s := range f.ask(&adminpb.Request{Kind: &adminpb.Request_GroupConfig{GroupConfig: &adminpb.GroupConfigRequest{Group: name}}}).GetGroupConfig().GetSettings() {
		out[s.GetKey()] = s.GetValue()
		if s.GetDefault() {
			out[s.GetKey()] += " default"
		}
	}
	return out
}

const sessionKey, heartbeatKey = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"

// TestGroupSetsItsOwnSessionTimeout: a member of a group with another session timeout is put out after that one, and one of another group is not.
func TestGroupSetsItsOwnSessionTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1)
		f.coordinate(1, func(c *coordinator.Config) { c.Bounds.MinSessionTimeout = 5 * time.Second })
		f.create("orders", 1)
		f.atNewestLevel()
		f.must(f.alterGroup("hasty", nil, sessionKey, "8000"))
		f.must2(f.FindCoordinator(t.Context(), alice, "hasty"))
		for _, name := range []string{"hasty", "patient"} {
			w, m := f.join(name, "m")
			w.next(t, m)
			m.Detach() // it is not heard of any more
		}
		time.Sleep(10 * time.Second)
		for name, want := range map[string]int{"hasty": 0, "patient": 1} {
			d, err := f.DescribeGroup(t.Context(), alice, name)
			f.must(err)
			if len(d.Members) != want {
				t.Errorf("group %s has %d members after 10 s, want %d", name, len(d.Members), want)
			}
		}
	})
}

// TestSettingsOfGroupsAreChecked: what is refused changes nothing, and says what would be right.
func TestSettingsOfGroupsAreChecked(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1, func(c *coordinator.Config) {
		c.Bounds = coordinator.Bounds{MinSessionTimeout: 6 * time.Second, MaxSessionTimeout: time.Minute, MinHeartbeatInterval: time.Second, MaxHeartbeatInterval: 20 * time.Second}
	})
	wantCode(t, "below its feature level", f.alterGroup("billing", nil, sessionKey, "8000"), mq.UnsupportedVersion, "feature level 5")
	f.atNewestLevel()
	f.must(f.alterGroup("billing", nil, sessionKey, "8000", heartbeatKey, "2000"))
	want := map[string]string{sessionKey: "8000", heartbeatKey: "2000"}
	for what, c := range map[string]struct {
		err  error
		code mq.Code
		text string
	}{
		"an unknown key":         {f.alterGroup("billing", nil, "consumer.session.timeout", "1"), mq.InvalidConfig, sessionKey},
		"an unknown key unset":   {f.alterGroup("billing", []string{heartbeatKey}, "x", "1"), mq.InvalidConfig, "consumer."},
		"no number":              {f.alterGroup("billing", nil, sessionKey, "8s"), mq.InvalidConfig, "1000 to 3600000"},
		"below the node's bound": {f.alterGroup("billing", nil, sessionKey, "5999"), mq.InvalidConfig, "between 6000 and 60000"},
		"above the node's bound": {f.alterGroup("audit", nil, heartbeatKey, "20001"), mq.InvalidConfig, "between 1000 and 20000"},
		"too seldom a heartbeat": {f.alterGroup("billing", nil, heartbeatKey, "4001"), mq.InvalidConfig, "half of " + sessionKey},
		"twice":                  {f.alterGroup("billing", []string{sessionKey}, sessionKey, "7000"), mq.InvalidConfig, sessionKey},
		"nothing":                {f.alterGroup("billing", nil), mq.InvalidRequest, "nothing"},
		"no group":               {f.alterGroup("", nil, sessionKey, "8000"), mq.InvalidGroupID, "1 to 1024"},
	} {
		wantCode(t, what, c.err, c.code, c.text)
		if got := f.groupSettings("billing"); got[sessionKey] != want[sessionKey] || got[heartbeatKey] != want[heartbeatKey] {
			t.Errorf("%s left %v", what, got)
		}
	}
	f.must(f.alterGroup("billing", []string{heartbeatKey}))
	if got := f.groupSettings("billing"); got[heartbeatKey] != "4000 default" { // half of its session timeout: the node's is longer
		t.Errorf("%v", got)
	}
	f.must(f.alterGroup("billing", []string{sessionKey}))
	if got := f.groupSettings("billing"); got[sessionKey] != "45000 default" || got[heartbeatKey] != "5000 default" {
		t.Errorf("%v", got)
	}
	f.policy.refuses(func(op broker.Operation, r broker.Resource) bool { return r.Group == "billing" && op == broker.OpAlter })
	wantCode(t, "without permission", f.alterGroup("billing", nil, sessionKey, "8000"), mq.GroupAuthorizationFailed, "alter", "billing")
}

// A coordinator whose bounds are narrower than those of the broker that took the settings keeps to its own.
func TestSettingsOfAGroupHoldWithinTheBoundsOfItsCoordinator(t *testing.T) {
	f := newFixture(t, 1)
	c := f.coordinate(1, func(c *coordinator.Config) {
		c.Bounds = coordinator.Bounds{MinSessionTimeout: 10 * time.Second, MaxHeartbeatInterval: 3 * time.Second}
	})
	f.atNewestLevel()
	// Decided when another broker had other bounds.
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_AlterGroupConfigs{AlterGroupConfigs: &metadatapb.AlterGroupConfigs{
		Group: "billing", Changes: []*metadatapb.ConfigChange{{Key: sessionKey, Value: "8000"}, {Key: heartbeatKey, Value: "4000"}},
	}}})
	if session, heartbeat := c.Timeouts(f.Image().GroupConfig("billing")); session != 10*time.Second || heartbeat != 3*time.Second {
		t.Errorf("%v, %v", session, heartbeat)
	}
	_, err := f.operate(context.Background(), alice, &adminpb.Request{Kind: &adminpb.Request_GroupConfig{GroupConfig: &adminpb.GroupConfigRequest{}}})
	wantCode(t, "describe no group", err, mq.InvalidGroupID, "1 to 1024")
}

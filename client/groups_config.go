package client

import (
	"context"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/mq"
)

// GroupConfig is a setting of a consumer group, with the value that holds.
type GroupConfig struct {
	Key     string
	Value   string
	Default bool // the group does not set it: it is that of the node which coordinates the group
}

// GroupConfigs lists all settings of a consumer group, by key. The group need not exist. Errors: INVALID_GROUP_ID, UNSUPPORTED_VERSION from a node that knows no
// settings of groups.
func (c *Client) GroupConfigs(ctx context.Context, group string) ([]GroupConfig, error) {
	resp, err := adminpb.Ask(&adminpb.Request{Kind: &adminpb.Request_GroupConfig{GroupConfig: &adminpb.GroupConfigRequest{Group: group}}},
		func(message []byte) ([]byte, error) { return c.Operate(ctx, message, true) })
	if err != nil {
		return nil, mq.Wrapf(err, "describe the settings of group %s", group)
	}
	var configs []GroupConfig
	for _, s := range resp.GetGroupConfig().GetSettings() {
		configs = append(configs, GroupConfig{Key: s.GetKey(), Value: s.GetValue(), Default: s.GetDefault()})
	}
	return configs, nil
}

// AlterGroupConfigs changes settings of a consumer group, all or none, durably: "consumer.session.timeout.ms" and "consumer.heartbeat.interval.ms", in milliseconds. An
// empty value is none: unset has the keys that go back to their defaults. The group need not exist, and keeps its settings when it is deleted. Members that are there
// follow within a heartbeat. Errors: INVALID_CONFIG, INVALID_GROUP_ID; UNSUPPORTED_VERSION below feature level 5; POLICY_VIOLATION when 10,000 groups have settings.
func (c *Client) AlterGroupConfigs(ctx context.Context, group string, set map[string]string, unset []string) error {
	_, err := adminpb.Ask(&adminpb.Request{Kind: &adminpb.Request_AlterGroupConfig{AlterGroupConfig: &adminpb.AlterGroupConfigRequest{Group: group, Set: set, Unset: unset}}},
		func(message []byte) ([]byte, error) { return c.Operate(ctx, message, true) })
	return mq.Wrapf(err, "alter group %s", group)
}

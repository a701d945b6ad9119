package broker

import (
	"context"
	"strconv"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
)

// groupConfig lists the settings of a group with what would hold if this node coordinated it.
func (b *Broker) groupConfig(s *server.Session, req *adminpb.GroupConfigRequest) (*adminpb.GroupConfigResponse, error) {
	groups, err := b.groups(s, OpDescribe, req.GetGroup())
	if err != nil {
		return nil, err
	}
	if _, err := metadata.ParseGroupConfig(req.GetGroup(), nil); err != nil {
		return nil, err
	}
	own := b.cfg.Controller.Image().GroupConfig(req.GetGroup())
	session, heartbeat := groups.Timeouts(own)
	holds := metadata.GroupConfig{SessionTimeoutMs: int32(session.Milliseconds()), HeartbeatIntervalMs: int32(heartbeat.Milliseconds())}
	out := &adminpb.GroupConfigResponse{}
	for _, k := range metadata.GroupConfigKeys() {
		out.Settings = append(out.Settings, &adminpb.Setting{
			Key: k.Name, Value: strconv.Itoa(int(k.Value(&holds))), Default: k.Value(own) == 0, Doc: k.Doc,
		})
	}
	return out, nil
}

// alterGroupConfig checks what the group's settings become by this node's bounds, and has the controllers decide.
func (b *Broker) alterGroupConfig(ctx context.Context, s *server.Session, req *adminpb.AlterGroupConfigRequest) error {
	groups, err := b.groups(s, OpAlter, req.GetGroup())
	if err != nil {
		return err
	}
	changes, err := settingChanges(req.GetSet(), req.GetUnset())
	if err != nil {
		return err
	}
	after, err := b.cfg.Controller.Image().GroupConfigWith(req.GetGroup(), changes)
	if err != nil {
		return err
	}
	if err := groups.CheckConfig(after); err != nil {
		return err
	}
	_, err = b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_AlterGroupConfigs{
		AlterGroupConfigs: &metadatapb.AlterGroupConfigs{Group: req.GetGroup(), Changes: changes},
	}})
	return mq.Wrapf(err, "change the settings of group %q", req.GetGroup())
}

package node

import (
	"context"
	"path/filepath"

	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// servesKafka says whether Kafka clients are served here: there has to be a listener for TCP.
func (n *Node) servesKafka() bool {
	return n.cfg.Kafka.Enabled && n.listener != nil
}

// openKafka opens what serves Kafka clients. Their connections come from the listener of the native protocol.
func (n *Node) openKafka() (err error) {
	if !n.servesKafka() {
		return nil
	}
	limits := kafkaproto.DefaultLimits()
	limits.Connections = n.cfg.Kafka.MaxConnections
	limits.AddressesEach = n.cfg.Kafka.MaxConnectionsPerAddress
	limits.IdleTimeout = n.cfg.Kafka.IdleTimeout
	limits.ProduceBytes = int(n.cfg.Kafka.MaxRequestSize)
	n.kafka, err = kafkaproto.New(kafkaproto.Config{
		Broker: broker.NewKafka(n.broker, n.kafkaLog), Principal: server.CertificatePrincipal, Plaintext: plaintexts[n.cfg.Kafka.Plaintext],
		MakeTopics: n.cfg.Kafka.AutoCreateTopics, Limits: limits, Logger: n.logger,
	})
	return err
}

// kafkaLog is where the node's log is and how much room its bound leaves, for Kafka clients.
func (n *Node) kafkaLog() kafkaproto.LogDir {
	d := kafkaproto.LogDir{Path: filepath.Join(n.cfg.Node.DataDir, walDir), Total: int64(n.cfg.WAL.MaxSize), Usable: -1}
	if n.dataLog != nil {
		d.Usable = max(0, d.Total-n.dataLog.Stats().LiveBytes)
	}
	return d
}

// plaintexts are what kafka.plaintext may say.
var plaintexts = map[string]kafkaproto.Plaintext{
	"never": kafkaproto.PlaintextNever, "loopback": kafkaproto.PlaintextLoopback, "anywhere": kafkaproto.PlaintextAnywhere,
}

// closeKafka has Kafka clients finish what is in flight until ctx ends.
func (n *Node) closeKafka(ctx context.Context) error {
	if n.kafka == nil {
		return nil
	}
	return n.kafka.Shutdown(ctx)
}

package node

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft/form"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/clouds"
)

// Validate checks each setting by itself and those that must fit together. The
// error is an *[mq.Error] with the code INVALID_CONFIG that names the setting, its
// value, and what would be right.
func (c *Config) Validate() error {
	for _, check := range []error{
		atLeast("node.id", c.Node.ID, 1),
		notEmpty("node.data_dir", c.Node.DataDir),
		c.validateRoles(),

		hostPort("server.listen", c.Server.Listen, 0),
		c.validateAdvertise(),
		between("server.handshake_timeout", c.Server.HandshakeTimeout, 100*time.Millisecond, 5*time.Minute),
		between("server.idle_timeout", c.Server.IdleTimeout, time.Second, time.Hour),
		atLeast("server.max_sessions", c.Server.MaxSessions, 1),
		between("server.drain_timeout", c.Server.DrainTimeout, 0, time.Hour),
		c.validateKafka(),
		hostPort("rpc.listen", c.RPC.Listen, 0),
		c.validateRPCAdvertise(),
		c.validateControllers(),
		hostPort("admin.listen", c.Admin.Listen, 0),

		sizeBetween("wal.segment_size", c.WAL.SegmentSize, MiB, GiB),
		sizeBetween("wal.max_size", c.WAL.MaxSize, 4*c.WAL.SegmentSize, 64*TiB),
		sizeBetween("wal.queue_size", c.WAL.QueueSize, 4*MiB, 16*GiB),
		between("raft.tick", c.Raft.Tick, 10*time.Millisecond, 10*time.Second),
		sizeBetween("raft.segment_size", c.Raft.SegmentSize, MiB, GiB),
		sizeBetween("raft.max_size", c.Raft.MaxSize, 4*c.Raft.SegmentSize, TiB),

		sizeBetween("memory.tail_size", c.Memory.TailSize, MiB, TiB),
		sizeBetween("memory.cache_size", c.Memory.CacheSize, MiB, TiB),
		c.Groups.validate(),
		c.validateObjectStore(),
		sizeBetween("object_store.flush_size", c.ObjectStore.FlushSize, 64*KiB, 4*GiB),
		between("object_store.flush_age", c.ObjectStore.FlushAge, 10*time.Millisecond, 24*time.Hour),
		sizeBetween("object_store.ack_size", c.ObjectStore.AckSize, 64*KiB, 4*GiB),
		between("object_store.ack_age", c.ObjectStore.AckAge, 10*time.Millisecond, 24*time.Hour),
		between("object_store.retention_interval", c.ObjectStore.RetentionInterval, 10*time.Millisecond, 24*time.Hour),
		between("object_store.mount_interval", c.ObjectStore.MountInterval, 10*time.Millisecond, 24*time.Hour),
		between("object_store.checkpoint_interval", c.ObjectStore.CheckpointInterval, 10*time.Millisecond, 24*time.Hour),
		between("object_store.delete_delay", c.ObjectStore.DeleteDelay, 10*time.Millisecond, 30*24*time.Hour),
		sizeBetween("object_store.compact_size", cmp.Or(c.ObjectStore.CompactSize, MiB), MiB, 4*GiB),
		countBetween("object_store.compact_ranges", c.ObjectStore.CompactRanges, 2, 512),
		between("object_store.compact_interval", c.ObjectStore.CompactInterval, 10*time.Millisecond, 24*time.Hour),
		between("object_store.timeout", c.ObjectStore.Timeout, time.Second, 10*time.Minute),
		atLeast("object_store.max_requests", c.ObjectStore.MaxRequests, 4),
		rate("object_store.upload_rate", c.ObjectStore.UploadRate),
		rate("object_store.download_rate", c.ObjectStore.DownloadRate),
		sizeBetween("object_store.part_size", c.ObjectStore.PartSize, 5*MiB, GiB),

		price("object_store.price.writes", c.Price.Writes),
		price("object_store.price.reads", c.Price.Reads),
		price("object_store.price.storage", c.Price.Storage),
		price("object_store.price.transfer", c.Price.Transfer),

		oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error"),
		oneOf("log.format", c.Log.Format, "text", "json"),
	} {
		if check != nil {
			return mq.Errorf(mq.InvalidConfig, "%w", check)
		}
	}
	return nil
}

func (c *Config) validateRoles() error {
	for _, role := range c.Node.Roles {
		if err := oneOf("node.roles", role, RoleBroker, RoleController); err != nil {
			return err
		}
	}
	if len(c.Node.Roles) == 0 {
		return fmt.Errorf("node.roles is empty: it may be broker, controller, or both")
	}
	for _, role := range []string{RoleBroker, RoleController} {
		if !slices.Contains(c.Node.Roles, role) && len(c.Node.Controllers) == 0 {
			return fmt.Errorf("node.roles is %q without %s: a node that is alone in its cluster needs broker,controller",
				strings.Join(c.Node.Roles, ","), role)
		}
	}
	return nil
}

// validateControllers checks the list, and that it has this node exactly if it is a controller.
func (c *Config) validateControllers() error {
	list, err := parseControllers(c.Node.Controllers)
	if err != nil || len(list) == 0 {
		return err
	}
	own := slices.IndexFunc(list, func(f form.Controller) bool { return int(f.Node) == c.Node.ID })
	switch is := slices.Contains(c.Node.Roles, RoleController); {
	case own >= 0 && !is:
		return fmt.Errorf("node.controllers names node %d, whose node.roles is %s without controller", c.Node.ID, strings.Join(c.Node.Roles, ","))
	case own < 0 && is:
		return fmt.Errorf("node.roles of node %d has controller, and node.controllers does not name it: add %d@HOST:PORT, with where other nodes reach it, or leave the role out",
			c.Node.ID, c.Node.ID)
	case own >= 0 && c.RPC.Advertise != "" && c.RPC.Advertise != list[own].Address:
		return fmt.Errorf("node.controllers has node %d at %s, and rpc.advertise is %s: they must be the same", c.Node.ID, list[own].Address, c.RPC.Advertise)
	}
	return nil
}

// parseControllers takes NODE@HOST:PORT apart, each, and sorts.
func parseControllers(texts []string) ([]form.Controller, error) {
	list := make([]form.Controller, 0, len(texts))
	for _, text := range texts {
		id, addr, ok := strings.Cut(text, "@")
		n, err := strconv.ParseInt(id, 10, 32)
		if !ok || err != nil || n < 1 {
			return nil, fmt.Errorf("node.controllers has %q: write NODE@HOST:PORT, such as 1@controller-1:9093", text)
		}
		if err := hostPort("node.controllers", addr, 1); err != nil {
			return nil, err
		}
		if host, _, _ := net.SplitHostPort(addr); host == "" {
			return nil, fmt.Errorf("node.controllers has %q without a host", text)
		}
		if slices.ContainsFunc(list, func(f form.Controller) bool { return f.Node == mq.NodeID(n) || f.Address == addr }) {
			return nil, fmt.Errorf("node.controllers has node %d or address %s twice", n, addr)
		}
		list = append(list, form.Controller{Node: mq.NodeID(n), Address: addr})
	}
	if len(list) > form.MaxControllers {
		return nil, fmt.Errorf("node.controllers names %d nodes: at most %d are sensible, and 3 or 5 are usual", len(list), form.MaxControllers)
	}
	form.Sort(list)
	return list, nil
}

func (c *Config) validateRPCAdvertise() error {
	if c.RPC.Advertise == "" {
		return nil
	}
	if err := hostPort("rpc.advertise", c.RPC.Advertise, 1); err != nil {
		return err
	}
	if host, _, _ := net.SplitHostPort(c.RPC.Advertise); host == "" {
		return fmt.Errorf("rpc.advertise is %q without a host: nodes need one to connect to", c.RPC.Advertise)
	}
	return nil
}

func (c *Config) validateAdvertise() error {
	for _, addr := range c.Server.Advertise {
		if err := hostPort("server.advertise", addr, 1); err != nil {
			return err
		}
		if host, _, _ := net.SplitHostPort(addr); host == "" {
			return fmt.Errorf("server.advertise is %q without a host: clients need one to connect to", addr)
		}
	}
	return nil
}

func (c *Config) validateKafka() error {
	if c.Kafka.Advertise != "" {
		if err := hostPort("kafka.advertise", c.Kafka.Advertise, 1); err != nil {
			return err
		}
		if host, _, _ := net.SplitHostPort(c.Kafka.Advertise); host == "" {
			return fmt.Errorf("kafka.advertise is %q without a host: clients need one to connect to", c.Kafka.Advertise)
		}
	}
	return cmp.Or(
		oneOf("kafka.plaintext", c.Kafka.Plaintext, "never", "loopback", "anywhere"),
		atLeast("kafka.max_connections", c.Kafka.MaxConnections, 1),
		atLeast("kafka.max_connections_per_address", c.Kafka.MaxConnectionsPerAddress, 1),
		between("kafka.idle_timeout", c.Kafka.IdleTimeout, time.Second, 24*time.Hour),
		sizeBetween("kafka.max_request_size", c.Kafka.MaxRequestSize, MiB, 512*MiB),
	)
}

func (c *Config) validateObjectStore() error {
	if c.ObjectStore.URL == "" {
		return nil
	}
	if err := tier.CheckURL(c.ObjectStore.URL, clouds.Schemes()...); err != nil {
		return mq.Errorf(mq.InvalidConfig, "object_store.url: %w", err)
	}
	if u, err := url.Parse(c.ObjectStore.URL); err == nil && u.Scheme == "file" && u.Host != "" {
		return mq.Errorf(mq.InvalidConfig, "object_store.url: it names no absolute directory: write it like file:///var/lib/rustmq/objects")
	}
	return nil
}

// redacted is a URL without the password that may be in it.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(unreadable)"
	}
	return u.Redacted()
}

func atLeast(key string, n, least int) error {
	if n < least {
		return fmt.Errorf("%s is %d: it must be at least %d", key, n, least)
	}
	return nil
}

func notEmpty(key, text string) error {
	if text == "" {
		return fmt.Errorf("%s is empty", key)
	}
	return nil
}

func between(key string, d, least, most time.Duration) error {
	if d < least || d > most {
		return fmt.Errorf("%s is %s: it must be between %s and %s", key, durationText(d), durationText(least), durationText(most))
	}
	return nil
}

func sizeBetween(key string, s, least, most Size) error {
	if s < least || s > most {
		return fmt.Errorf("%s is %s: it must be between %s and %s", key, s, least, most)
	}
	return nil
}

func countBetween(key string, n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("%s is %d: it must be between %d and %d", key, n, least, most)
	}
	return nil
}

// rate checks bytes per second, of which 0 is no bound.
func rate(key string, s Size) error {
	if s == 0 {
		return nil
	}
	return sizeBetween(key, s, 64*KiB, TiB)
}

func price(key string, p Price) error {
	if f := float64(p); math.IsNaN(f) || f < 0 || f > float64(maxPrice) {
		return fmt.Errorf("%s is %s: it must be between 0 and %s", key, p, maxPrice)
	}
	return nil
}

func oneOf(key, text string, choices ...string) error {
	if !slices.Contains(choices, text) {
		return fmt.Errorf("%s is %q: it may be %s", key, text, strings.Join(choices, ", "))
	}
	return nil
}

// hostPort checks an address whose port is at least leastPort.
func hostPort(key, addr string, leastPort int) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s is %q: write host:port, such as 127.0.0.1:9092 or [::1]:9092", key, addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < leastPort || n > 65535 {
		return fmt.Errorf("%s is %q: the port must be a number between %d and 65535", key, addr, leastPort)
	}
	return nil
}

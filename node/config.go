package node

import (
	"net/url"
	"path/filepath"
	"time"

	"github.com/rustmq/rustmq/tier"
)

// Config is everything that can be set on a node. Each field is one setting:
// the koanf tags make its key (`wal.segment_size`), from which the name in the
// environment follows (`RUSTMQ_WAL_SEGMENT_SIZE`); the doc tag is its text in
// docs/configuration.md, in `rustmq config docs` and in `serve --help`.
//
// Field types: string, int, bool, [Size], [Price], time.Duration and []string.
type Config struct {
	Node        NodeConfig        `koanf:"node"         doc:"Who this node is and where it keeps its data."`
	Server      ServerConfig      `koanf:"server"       doc:"The front door for clients: QUIC on UDP, and on the same port of TCP the same protocol over TLS; TLS 1.3 always."`
	Kafka       KafkaConfig       `koanf:"kafka"        doc:"Kafka clients, which are served on server.listen's port of TCP beside the native protocol. docs/kafka.md says what they find."`
	RPC         RPCConfig         `koanf:"rpc"          doc:"The door between nodes, for which certificates have to be issued: a node that made its own is alone in its cluster and does not open it."`
	Admin       AdminConfig       `koanf:"admin"        doc:"The HTTP listener: health, metrics, and the services of rustmq.v1 for Connect, gRPC and curl."`
	PKI         PKIConfig         `koanf:"pki"          doc:"Certificates."`
	WAL         WALConfig         `koanf:"wal"          doc:"The write-ahead log, where every record is first made durable."`
	Raft        RaftConfig        `koanf:"raft"         doc:"The controller's replicated log."`
	Memory      MemoryConfig      `koanf:"memory"       doc:"Bounds of what is kept in memory for reading."`
	Groups      GroupsConfig      `koanf:"groups"       doc:"Consumer groups, as far as this node coordinates them: the same on every node."`
	ObjectStore ObjectStoreConfig `koanf:"object_store" doc:"The bucket that records move on to, and when."`
	Price       PriceConfig       `koanf:"object_store.price" doc:"What the object store costs, for the estimates in metrics: nothing else goes by it. The defaults are Amazon's list prices of S3 Standard in us-east-1; docs/costs.md computes with them."`
	Log         LogConfig         `koanf:"log"          doc:"What the node says about itself, on stderr."`
}

// NodeConfig says who the node is.
type NodeConfig struct {
	ID      int      `koanf:"id"       doc:"Number of this node in its cluster, 1 or more. A data directory belongs to one node id for good." flag:"node-id"`
	DataDir string   `koanf:"data_dir" doc:"Directory of everything the node keeps. It is created when missing, and locked while the node runs." flag:"data-dir"`
	Roles   []string `koanf:"roles"    doc:"Which parts run here: broker, controller. A node that is alone in its cluster has both." flag:"roles"`
	Rack    string   `koanf:"rack"     doc:"Where the machine stands: replicas of one partition are spread over racks." flag:"rack"`
	// Controllers are all founding controllers of the cluster.
	Controllers []string `koanf:"controllers" doc:"The controllers of the cluster as NODE@HOST:PORT of their listeners for nodes, the same on every node: 1@a:9093,2@b:9093,3@c:9093. They found the cluster together, once; later on they are where a node looks for the others. Default: this node alone." flag:"controllers"`
}

// ServerConfig is the clients' front door.
type ServerConfig struct {
	Listen           string        `koanf:"listen"            doc:"Address of the QUIC listener, host:port. Port 0 picks a free one." flag:"listen"`
	Advertise        []string      `koanf:"advertise"         doc:"Addresses host:port that clients are told to use; the first also goes into the node's certificate. Default: the address that is listened on." flag:"advertise"`
	HandshakeTimeout time.Duration `koanf:"handshake_timeout" doc:"Time that a new connection has for the TLS handshake and its hello."`
	IdleTimeout      time.Duration `koanf:"idle_timeout"      doc:"Time after which a connection is closed from which nothing is heard, keep-alives included."`
	MaxSessions      int           `koanf:"max_sessions"      doc:"Connections at one time. One more is refused, and told why."`
	DrainTimeout     time.Duration `koanf:"drain_timeout"     doc:"Time that requests in flight have to finish after SIGTERM."`
}

// KafkaConfig is what Kafka clients find.
type KafkaConfig struct {
	Enabled                  bool          `koanf:"enabled"                     doc:"Whether Kafka clients are served."`
	Advertise                string        `koanf:"advertise"                   doc:"Address host:port that Kafka clients are told to use, exactly as it stands here. Default: the first of server.advertise, else the address that is listened on."`
	Plaintext                string        `koanf:"plaintext"                   doc:"Where Kafka clients may be that do not use TLS: never, loopback (on this machine), anywhere."`
	AutoCreateTopics         bool          `koanf:"auto_create_topics"          doc:"Whether a topic that a Kafka client asks for by name is made when there is none, as the cluster's defaults have it."`
	MaxConnections           int           `koanf:"max_connections"             doc:"Connections of Kafka clients at one time. One more is closed."`
	MaxConnectionsPerAddress int           `koanf:"max_connections_per_address" doc:"Of these, those from one address."`
	IdleTimeout              time.Duration `koanf:"idle_timeout"                doc:"Time after which a connection without a request is closed."`
	MaxRequestSize           Size          `koanf:"max_request_size"            doc:"Largest produce request, which may have batches for many partitions. The client of a larger one loses its connection."`
}

// RPCConfig is the door between nodes.
type RPCConfig struct {
	Listen    string `koanf:"listen"    doc:"Address for the other nodes of the cluster, host:port." flag:"rpc-listen"`
	Advertise string `koanf:"advertise" doc:"Address host:port that the other nodes are told to use. Default: that of this node in node.controllers, else the address that is listened on." flag:"rpc-advertise"`
}

// AdminConfig is the HTTP listener.
type AdminConfig struct {
	Listen   string `koanf:"listen"   doc:"Address of the HTTP listener, host:port. Port 0 picks a free one." flag:"admin-listen"`
	Services bool   `koanf:"services" doc:"Serve rustmq.v1 there, on a broker: producing, consuming, topics and groups, without TLS and for everybody who reaches the listener, who is the principal anonymous."`
	Pprof    bool   `koanf:"pprof"    doc:"Serve the Go runtime's profiles at /debug/pprof/. Whoever reaches the listener can then make the node work for him: leave it off where that is not only you."`
}

// PKIConfig says where certificates are.
type PKIConfig struct {
	Dir          string `koanf:"dir" doc:"Directory with ca.crt, node.crt and node.key, as rustmq ctl ca node makes it, or with ca.crt and ca.key, out of which the node issues its own certificate. The cluster's id is that of the certificate. Default: DATA_DIR/pki, where the first start makes a certificate authority of its own." flag:"pki"`
	Join         string `koanf:"join"          doc:"Join token, or @FILE that holds one, with which a node that has no certificate yet fetches it into pki.dir. Never printed." flag:"join"`
	AuthorityDir string `koanf:"authority_dir" doc:"Directory with the ca.crt and ca.key that certificates of new nodes are signed with here. Default: pki.dir, where it has a ca.key; other nodes ask one that has it."`
}

// WALConfig bounds the write-ahead log.
type WALConfig struct {
	SegmentSize Size `koanf:"segment_size" doc:"Size of one segment file. Space is freed segment by segment, and a batch takes half of one at most."`
	MaxSize     Size `koanf:"max_size"     doc:"Bound of the whole log. When it is reached because the object store does not keep up, producing waits, and then gets the retriable error STORAGE_FULL."`
	QueueSize   Size `koanf:"queue_size"   doc:"Bytes that may wait for the disk in memory."`
}

// RaftConfig is the controller's log.
type RaftConfig struct {
	Tick        time.Duration `koanf:"tick"         doc:"Raft's unit of time: a heartbeat each tick, an election after eight without one, or at once when the leader's process has ended."`
	SegmentSize Size          `koanf:"segment_size" doc:"Size of one segment file of the controller's log."`
	MaxSize     Size          `koanf:"max_size"     doc:"Bound of the controller's log; a snapshot frees it long before."`
}

// MemoryConfig bounds what is kept in memory for reading.
type MemoryConfig struct {
	TailSize  Size `koanf:"tail_size"  doc:"Newest records of all partitions together, read without a copy."`
	CacheSize Size `koanf:"cache_size" doc:"Blocks read back from the object store."`
}

// ObjectStoreConfig says where records go on to, and when.
type ObjectStoreConfig struct {
	URL       string        `koanf:"url"        doc:"The bucket: s3://BUCKET?region=REGION, gs://BUCKET, azblob://CONTAINER?account=NAME, file:///some/dir, or mem:// to forget everything at exit. docs/operations.md has what else a URL may say, and where credentials come from: never from here. Default: DATA_DIR/objects." flag:"object-store"`
	FlushSize Size          `koanf:"flush_size" doc:"An object is written when this much waits for it, of all partitions together."`
	FlushAge  time.Duration `koanf:"flush_age"  doc:"An object is written when a record has waited this long."`
	AckSize   Size          `koanf:"ack_size"   doc:"An object is written, too, when this much waits of partitions whose producers wait for the object store (acks=object)."`
	AckAge    time.Duration `koanf:"ack_age"    doc:"An object is written, too, when a record whose producer waits for the object store has waited this long."`
	// What the leading controller does there.
	RetentionInterval  time.Duration `koanf:"retention_interval"  doc:"How often the leading controller looks for records that retention.ms and retention.bytes of their topics have outlived."`
	CheckpointInterval time.Duration `koanf:"checkpoint_interval" doc:"How often the leading controller copies the metadata into the bucket, if anything changed. A cluster that is restored from its bucket alone loses what was decided since; not the records of the objects written since."`
	DeleteDelay        time.Duration `koanf:"delete_delay"        doc:"How long an object that nothing refers to stays in the bucket, at least: longer than the longest read that may still use it. It stays until a copy of the metadata in the bucket says so, too."`

	MountInterval time.Duration `koanf:"mount_interval" doc:"How often a node that is a read-only mount of another cluster's bucket looks there for what is new."`

	CompactSize     Size          `koanf:"compact_size"     doc:"What is small in the object store is merged into objects of about this size, one partition in each if it fills one. A broker holds up to three times as much in memory while it does. 0: nothing is merged."`
	CompactRanges   int           `koanf:"compact_ranges"   doc:"So many small pieces of one partition are merged even if they do not make compact_size."`
	CompactInterval time.Duration `koanf:"compact_interval" doc:"How often a broker looks for what to merge of the partitions that it leads."`

	Timeout      time.Duration `koanf:"timeout"       doc:"A request to the store is given up when it got nowhere for this long, and a second for each MiB of it. It is then tried again."`
	MaxRequests  int           `koanf:"max_requests"  doc:"Requests to the store at one time. Where they are short, uploads go first, then consumers' reads, compaction, and what nobody waits for; the last three never take more than 3/4, 1/2 and 1/4 of them."`
	UploadRate   Size          `koanf:"upload_rate"   doc:"Bytes per second that are sent to the store, shared out in the same order. 0B: as many as can be."`
	DownloadRate Size          `koanf:"download_rate" doc:"Bytes per second that are read from the store. 0B: as many as can be."`
	PartSize     Size          `koanf:"part_size"     doc:"An object of more than four of these is sent in parts of this size, four at a time, each in memory."`
}

// PriceConfig is the price table of the object store.
type PriceConfig struct {
	Currency string `koanf:"currency" doc:"What the prices are in: for people, nothing is computed with it."`
	Writes   Price  `koanf:"writes"   doc:"Price of 1,000 requests that write or list: puts, parts of objects, lists."`
	Reads    Price  `koanf:"reads"    doc:"Price of 1,000 requests that read: of bytes, or of what an object is. Deletions are free."`
	Storage  Price  `koanf:"storage"  doc:"Price of a GiB that is kept for a month."`
	Transfer Price  `koanf:"transfer" doc:"Price of a GiB that is read from the store. Within a region it is free, as a rule."`
}

// LogConfig says what the node tells.
type LogConfig struct {
	Level  string `koanf:"level"  doc:"Least level that is printed: debug, info, warn, error." flag:"log-level"`
	Format string `koanf:"format" doc:"text for people, json for machines." flag:"log-format"`
}

// Default is the configuration of `rustmq serve` without flags, file or
// environment: one node with both roles on loopback.
func Default() Config {
	return Config{
		Node: NodeConfig{ID: 1, DataDir: "./rustmq-data", Roles: []string{RoleBroker, RoleController}},
		Server: ServerConfig{
			Listen:           "127.0.0.1:9092",
			HandshakeTimeout: 10 * time.Second,
			IdleTimeout:      30 * time.Second,
			MaxSessions:      20_000,
			DrainTimeout:     10 * time.Second,
		},
		Kafka: KafkaConfig{
			Enabled:   true,
			Plaintext: "loopback", AutoCreateTopics: true,
			MaxConnections: 20_000, MaxConnectionsPerAddress: 2_000, IdleTimeout: 10 * time.Minute, MaxRequestSize: 100 * MiB,
		},
		RPC:    RPCConfig{Listen: "127.0.0.1:9093"},
		Admin:  AdminConfig{Listen: "127.0.0.1:9642", Services: true},
		WAL:    WALConfig{SegmentSize: 128 * MiB, MaxSize: 16 * GiB, QueueSize: 64 * MiB},
		Raft:   RaftConfig{Tick: 100 * time.Millisecond, SegmentSize: 16 * MiB, MaxSize: 256 * MiB},
		Memory: MemoryConfig{TailSize: 256 * MiB, CacheSize: 256 * MiB},
		Groups: defaultGroups(),
		ObjectStore: ObjectStoreConfig{
			FlushSize: 32 * MiB, FlushAge: 10 * time.Second, AckSize: 8 * MiB, AckAge: 250 * time.Millisecond,
			RetentionInterval: 5 * time.Minute, CheckpointInterval: 5 * time.Minute, DeleteDelay: 15 * time.Minute, MountInterval: time.Minute,
			CompactSize: 64 * MiB, CompactRanges: tier.DefaultMergeRanges, CompactInterval: time.Minute,
			Timeout: tier.DefaultTimeout, MaxRequests: tier.DefaultRequests, PartSize: tier.DefaultPartBytes,
		},
		Price: PriceConfig{Currency: "USD", Writes: 0.005, Reads: 0.0004, Storage: 0.023},
		Log:   LogConfig{Level: "info", Format: "text"},
	}
}

// The roles of a node.
const (
	RoleBroker     = "broker"
	RoleController = "controller"
)

// ObjectStoreURL is where objects go: the setting, or the data directory's own
// bucket when it is empty.
func (c *Config) ObjectStoreURL() string {
	if c.ObjectStore.URL != "" {
		return c.ObjectStore.URL
	}
	dir, err := filepath.Abs(c.Node.DataDir)
	if err != nil {
		dir = c.Node.DataDir
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(dir, "objects"))}
	return u.String()
}

// limits are those of requests to the object store.
func (c *ObjectStoreConfig) limits() tier.Limits {
	return tier.Limits{
		Requests: c.MaxRequests, UploadRate: int64(c.UploadRate), DownloadRate: int64(c.DownloadRate), Timeout: c.Timeout, PartBytes: int64(c.PartSize),
	}
}

// PKIDir is where certificates are: the setting, or the data directory's own.
func (c *Config) PKIDir() string {
	if c.PKI.Dir != "" {
		return c.PKI.Dir
	}
	return filepath.Join(c.Node.DataDir, "pki")
}

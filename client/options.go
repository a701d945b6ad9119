package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Option sets one thing about a [Client]; see [New]. Of two that set the same thing the later one wins.
type Option func(*config) error

// Defaults of the options of the same name.
const (
	DefaultServer           = "127.0.0.1:9092"
	DefaultDialTimeout      = 5 * time.Second
	DefaultRequestTimeout   = 30 * time.Second
	DefaultIdleTimeout      = 15 * time.Second
	DefaultDeliveryTimeout  = 2 * time.Minute
	DefaultLinger           = 5 * time.Millisecond
	DefaultBatchBytes       = 128 << 10
	DefaultMaxBufferedBytes = 32 << 20
	DefaultWindow           = 256
	DefaultConnections      = 2
	DefaultPrefetchBytes    = 16 << 20
)

// Bounds of what options take.
const (
	// MaxConnections bounds [Connections]: a client with more would take more from the server than it gains.
	MaxConnections = 64
	// MinBatchBytes is the smallest [BatchBytes]: below it headers outweigh records.
	MinBatchBytes = 1 << 10
	// MinPrefetchBytes is the smallest [PrefetchBytes].
	MinPrefetchBytes = 64 << 10
)

// ListenPacket opens the socket from which the client dials one connection to addr ("host:port"), and resolves addr.
// The client closes the socket when the connection has ended.
type ListenPacket func(addr string) (net.PacketConn, net.Addr, error)

const (
	maxClientID      = quicproto.MaxText
	maxRack          = quicproto.MaxText
	maxPrefetchBytes = 1 << 30
)

// config is what the options build.
type config struct {
	servers        []string
	tls            *tls.Config
	caFile         string
	certFile       string
	keyFile        string
	clientID       string
	rack           string
	logger         *slog.Logger
	listen         ListenPacket
	transport      TransportKind
	dialTCP        DialStream // nil for the machine's
	simulated      bool       // listen was replaced
	inject         func(context.Context, HeaderCarrier)
	extract        func(context.Context, HeaderCarrier) context.Context
	dialTimeout    time.Duration
	requestTimeout time.Duration
	idleTimeout    time.Duration

	connections      int
	linger           time.Duration
	batchBytes       int
	maxBufferedBytes int64
	window           int
	durability       mq.Durability
	compression      mq.Compression
	level            int
	idempotent       bool
	deliveryTimeout  time.Duration
	partitioner      Partitioner
}

func defaultConfig() config {
	return config{
		servers:          []string{DefaultServer},
		listen:           listenUDP,
		logger:           slog.New(slog.DiscardHandler),
		dialTimeout:      DefaultDialTimeout,
		requestTimeout:   DefaultRequestTimeout,
		idleTimeout:      DefaultIdleTimeout,
		connections:      DefaultConnections,
		linger:           DefaultLinger,
		batchBytes:       DefaultBatchBytes,
		maxBufferedBytes: DefaultMaxBufferedBytes,
		window:           DefaultWindow,
		durability:       mq.DurabilityAll,
		idempotent:       true,
		deliveryTimeout:  DefaultDeliveryTimeout,
		partitioner:      HashPartitioner(),
	}
}

func invalid(format string, args ...any) error { return mq.Errorf(mq.InvalidConfig, format, args...) }

// Servers names where the client finds the cluster: "host:port" each, tried in turn until one answers. They
// need not be all of the cluster's: the client learns the others. Default: [DefaultServer].
func Servers(addrs ...string) Option {
	return func(c *config) error {
		if len(addrs) == 0 {
			return invalid("Servers: at least one host:port is needed")
		}
		for _, addr := range addrs {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				return invalid("Servers: %q is not host:port: %w", addr, err)
			}
		}
		c.servers = append([]string(nil), addrs...)
		return nil
	}
}

// TLSConfig sets how servers are verified and what the client proves itself with. It is cloned; the client sets NextProtos,
// MinVersion (TLS 1.3) and, where empty, ServerName. Default: the system's roots and no client certificate.
func TLSConfig(tc *tls.Config) Option {
	return func(c *config) error {
		if tc == nil {
			return invalid("TLSConfig: nil")
		}
		c.tls = tc.Clone()
		return nil
	}
}

// CAFile trusts the certificates of this PEM file and no others. It is read by [New] and adds to [TLSConfig].
func CAFile(path string) Option {
	return func(c *config) error {
		c.caFile = path
		return nil
	}
}

// CertKey proves the client's identity by a PEM certificate (chain) and key. Both are read by [New] and add to [TLSConfig].
func CertKey(certFile, keyFile string) Option {
	return func(c *config) error {
		if certFile == "" || keyFile == "" {
			return invalid("CertKey: a certificate needs its key, and a key its certificate")
		}
		c.certFile, c.keyFile = certFile, keyFile
		return nil
	}
}

// ClientID is what servers call this client in logs and quotas, at most 1,024 bytes. It proves nothing. Default: empty.
func ClientID(id string) Option {
	return func(c *config) error {
		if len(id) > maxClientID {
			return invalid("ClientID: %d bytes, at most %d", len(id), maxClientID)
		}
		c.clientID = id
		return nil
	}
}

// Rack is where this client stands, as the brokers' node.rack says it of them (Kafka's client.rack), at most 1,024 bytes. Its consumers read what only the
// object store has from brokers of that rack, whoever leads, and everything else from the leaders. Default: empty, all of it from the leaders.
func Rack(rack string) Option {
	return func(c *config) error {
		if len(rack) > maxRack {
			return invalid("Rack: %d bytes, at most %d", len(rack), maxRack)
		}
		c.rack = rack
		return nil
	}
}

// Logger takes what the client has to say: connections made and lost, retries that last, lost idempotence. Nothing is
// logged per record or per batch. Default: silence.
func Logger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return invalid("Logger: nil")
		}
		c.logger = l
		return nil
	}
}

// Listen replaces the sockets and the name resolution that the client dials with; tests run it over a simulated network. The
// default opens an unconnected UDP socket for each connection, which is what lets the kernel segment for us.
func Listen(listen ListenPacket) Option {
	return func(c *config) error {
		if listen == nil {
			return invalid("Listen: nil")
		}
		c.listen, c.simulated = listen, true
		return nil
	}
}

// DialStream connects to addr ("host:port") by what stands for TCP.
type DialStream func(ctx context.Context, addr string) (net.Conn, error)

// TransportKind is what connections go over; see [Transport].
type TransportKind int

// What connections may go over.
const (
	// Auto is QUIC, and TCP where UDP does not get through.
	Auto TransportKind = iota
	// QUIC is UDP: streams do not wait for each other's losses, and a connection outlives a change of the client's address.
	QUIC
	// TCP is TLS on TCP, a connection for each stream: several times more bytes for the same CPU.
	TCP
)

// String is "auto", "quic" or "tcp".
func (k TransportKind) String() string {
	switch k {
	case QUIC:
		return "quic"
	case TCP:
		return "tcp"
	default:
		return "auto"
	}
}

// ParseTransport is the reverse of [TransportKind.String].
func ParseTransport(name string) (TransportKind, error) {
	for _, k := range []TransportKind{Auto, QUIC, TCP} {
		if name == k.String() {
			return k, nil
		}
	}
	return Auto, invalid("transport %q is none of auto, quic and tcp", name)
}

// Transport chooses what connections go over. All that the client does is the same over both. Default: [Auto].
func Transport(k TransportKind) Option {
	return func(c *config) error {
		if k < Auto || k > TCP {
			return invalid("Transport: %d is none of Auto, QUIC and TCP", k)
		}
		c.transport = k
		return nil
	}
}

// Dial replaces how the client connects over TCP; tests run it over a simulated network. Default: the machine's TCP, and none if only [Listen] is replaced: then
// [Auto] is [QUIC].
func Dial(dial DialStream) Option {
	return func(c *config) error {
		if dial == nil {
			return invalid("Dial: nil")
		}
		c.dialTCP = dial
		return nil
	}
}

// DialTimeout bounds one attempt to connect, handshakes included. Default: [DefaultDialTimeout].
func DialTimeout(d time.Duration) Option {
	return positive("DialTimeout", d, func(c *config) { c.dialTimeout = d })
}

// RequestTimeout bounds an admin request (such as [Client.CreateTopic]), retries included, whose context has no deadline. Default:
// [DefaultRequestTimeout].
func RequestTimeout(d time.Duration) Option {
	return positive("RequestTimeout", d, func(c *config) { c.requestTimeout = d })
}

// IdleTimeout is after how long without any packet a connection is given up, a keep-alive being sent each third of it. The
// server may have set a shorter one. It is also how long a consumer may take to notice that its server has vanished without a
// word; a producer with batches in flight notices sooner. Default: [DefaultIdleTimeout].
func IdleTimeout(d time.Duration) Option {
	return positive("IdleTimeout", d, func(c *config) { c.idleTimeout = d })
}

// Connections is how many connections, each on a socket of its own, the producer, and each consumer, opens to one node as it comes to need
// them; partitions are spread over them. More than one lets more cores work on packets. From 1 to [MaxConnections]. Default:
// [DefaultConnections].
func Connections(n int) Option {
	return func(c *config) error {
		if n < 1 || n > MaxConnections {
			return invalid("Connections: %d is not in 1..%d", n, MaxConnections)
		}
		c.connections = n
		return nil
	}
}

// Linger bounds how long a record may be held back to share a batch with later ones. A record is held only while earlier
// records of its partition await their acknowledgement and the batch is not full: on an idle partition it is sent at
// once, whatever d is, and on a busy one batches grow by themselves. A record without a key is held, too, while 64 KiB or more of
// other partitions await theirs, until the partitioner turns to another partition. 0 never holds a record back.
// Default: [DefaultLinger].
func Linger(d time.Duration) Option {
	return func(c *config) error {
		if d < 0 {
			return invalid("Linger: %v is negative", d)
		}
		c.linger = d
		return nil
	}
}

// BatchBytes is the size in bytes, before compression, at which a batch is full. A record that is larger goes alone. From
// [MinBatchBytes] to [mq.MaxBatchBytes]; a topic's lower max.message.bytes is heeded. Default: [DefaultBatchBytes].
func BatchBytes(n int) Option {
	return func(c *config) error {
		if n < MinBatchBytes || n > mq.MaxBatchBytes {
			return invalid("BatchBytes: %d is not in %d..%d", n, MinBatchBytes, mq.MaxBatchBytes)
		}
		c.batchBytes = n
		return nil
	}
}

// MaxBufferedBytes bounds the encoded records in bytes that were produced and have no outcome yet. When it is reached
// [Client.Produce] waits and [Client.TryProduce] fails. The memory really used may be twice that, for batches are built from them. Default:
// [DefaultMaxBufferedBytes].
func MaxBufferedBytes(n int64) Option {
	return func(c *config) error {
		if n < MinBatchBytes {
			return invalid("MaxBufferedBytes: %d is below %d", n, MinBatchBytes)
		}
		c.maxBufferedBytes = n
		return nil
	}
}

// Window bounds how many batches of one partition are in flight, from 1 to [mq.MaxProducerWindow]; the server may allow
// less for all partitions of a connection together. Order is kept whatever the window is, unless [Idempotent] is off. Default: [DefaultWindow].
func Window(batches int) Option {
	return func(c *config) error {
		if batches < 1 || batches > mq.MaxProducerWindow {
			return invalid("Window: %d is not in 1..%d", batches, mq.MaxProducerWindow)
		}
		c.window = batches
		return nil
	}
}

// RequiredAcks is the durability at which a record counts as delivered, unless the record says otherwise (see
// [Record].Acks). Default: [mq.DurabilityAll].
func RequiredAcks(d mq.Durability) Option {
	return func(c *config) error {
		if !d.Valid() {
			return mq.Errorf(mq.InvalidRequiredAcks, "RequiredAcks: %v", d)
		}
		c.durability = d
		return nil
	}
}

// Compression compresses batches. The level is the codec's own: 0 is its default, and it is ignored by codecs that have none. Default:
// [mq.CompressionNone].
func Compression(codec mq.Compression, level int) Option {
	return func(c *config) error {
		if !codec.Valid() {
			return mq.Errorf(mq.UnsupportedCompression, "Compression: %v", codec)
		}
		c.compression, c.level = codec, level
		return nil
	}
}

// Idempotent numbers batches so that the server drops those that it has already: a retry leaves no duplicate and changes no
// order. Without it a batch whose answer was lost may be there twice, and with a [Window] above 1 order may change over retries. Default: true.
func Idempotent(on bool) Option {
	return func(c *config) error {
		c.idempotent = on
		return nil
	}
}

// DeliveryTimeout is how long a record may take from [Client.Produce] to its acknowledgement, all retries
// included; after it the record fails with REQUEST_TIMED_OUT. If it had been sent, its outcome is unknown. Default:
// [DefaultDeliveryTimeout].
func DeliveryTimeout(d time.Duration) Option {
	return positive("DeliveryTimeout", d, func(c *config) { c.deliveryTimeout = d })
}

// PartitionBy chooses partitions. Default: [HashPartitioner].
func PartitionBy(p Partitioner) Option {
	return func(c *config) error {
		if p == nil {
			return invalid("PartitionBy: nil")
		}
		c.partitioner = p
		return nil
	}
}

func positive(name string, d time.Duration, set func(*config)) Option {
	return func(c *config) error {
		if d <= 0 {
			return invalid("%s: %v is not positive", name, d)
		}
		set(c)
		return nil
	}
}

// build applies the options and checks what they give together.
func build(opts []Option) (config, error) {
	c := defaultConfig()
	for i, opt := range opts {
		if opt == nil {
			return config{}, invalid("option %d is nil", i)
		}
		if err := opt(&c); err != nil {
			return config{}, err
		}
	}
	if int64(c.batchBytes) > c.maxBufferedBytes {
		return config{}, invalid("BatchBytes %d is above MaxBufferedBytes %d", c.batchBytes, c.maxBufferedBytes)
	}
	tc, err := c.loadTLS()
	if err != nil {
		return config{}, fmt.Errorf("new client: %w", err)
	}
	c.tls = tc
	return c, nil
}

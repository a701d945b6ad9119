// Package quicproto is the native protocol of RustMQ: what the frames on its streams mean, and their codec. Package
// quicproto/server serves it, package client speaks it.
//
// The package knows nothing of QUIC beyond its name: it reads frames from an io.Reader and writes them to an io.Writer. It
// does not check record batches (package mq does), decides nothing about topics, and starts no goroutine.
//
// # Session
//
// A client opens a QUIC connection (TLS 1.3, ALPN "rustmq/1", no 0-RTT, no datagrams, no unidirectional streams). All streams are
// bidirectional and opened by the client; the first frame on each says what the stream is. A client sends nothing on a second stream
// before Welcome. Package quicproto/transport has the same over TLS on TCP: what is said here of QUIC holds there of what stands for it.
//
//	stream    client to server                                server to client
//	control   Hello                                           Welcome, GoAway?                first stream, open as long as the session
//	produce   OpenProduce, (Bind | Produce)*                  (Bound | ProduceAcks)*          any number, long-lived
//	fetch     OpenFetch, (Assign | Unassign | Seek            (Assigned | Records | Status)*  any number, long-lived
//	                     | Pause | Resume)*
//	request   (Request)+                                      (Response)+                     any number, short
//	group     OpenGroup, (Heartbeat)*                         (Assignment)*                   any number, one for each member, long-lived
//	any                                                       Close                           in place of whatever would come next
//
// Either side ends a stream by ending its writing half. The client ends a produce stream when it has sent all, and still
// gets all acks; ending a fetch stream unsubscribes. The client ends a session by closing the connection or the control
// stream. Who finds the other breaking the protocol closes the connection. Connections are closed and streams are reset with an
// error code of package mq as the application error code (ErrorCode, CodeOfError) and, for connections, its text as the reason.
//
// Hello names the range of protocol versions and the optional features that the client can use; Welcome the one version
// (the highest common one) and the features (the intersection) that hold for the session. If there is no common version
// the server closes the connection with UNSUPPORTED_VERSION. A change that older peers could misunderstand takes a feature bit or a
// version; for that every reserved bit, byte, type and value is refused with UNSUPPORTED_VERSION, never ignored. New error codes may come at
// any time: a code that a client does not know is one that cannot be retried.
//
// # Produce
//
// A produce stream is a window: the client sends batches for any partitions without waiting, and the server acks each one when it has
// reached the durability that its frame asks for, in order for one partition and in any order between partitions. Limits in
// Welcome bound the window; a server beyond one of them stops reading, and QUIC's flow control stops the client. What a Produce frame
// says about a topic is a handle, bound before by name: the topic is looked up and the client authorised once.
//
// # Fetch
//
// A fetch stream is a subscription: the server pushes what its partitions have, as soon as they have it, as fast as the client reads
// (QUIC's flow control is the only one there is), in turn between partitions that have something. A generation, picked by
// the client with each Assign and Seek, comes back in all that follows from it, so that the client can drop what was on its
// way when it changed its mind.
//
// With the feature bit 1 (tiered reads) an Assign says where records are to come from that only the object store has (origin: 0 the leader, 1 the leader, which stops
// where these begin, 2 whoever is asked, who has nothing else). A Status with code NONE then says: what comes next is to be had elsewhere. Without the feature the
// origin is zero.
//
// # Groups
//
// A group stream is a member of a consumer group, on a session with the node that FindCoordinator names. The coordinator assigns (KIP-848), and an Assignment comes as soon as
// there is another one. The session is the member's liveness: while it lives, wherever its address moves to, nothing has to be said. The protocol of a member:
//
//   - OpenGroup says all of it, with epoch 0 to join. The answer is an Assignment.
//   - Each Assignment is answered at once with a Heartbeat of its number, which says what is owned if partitions were said. Until then nothing is taken from the member, whatever it
//     has said before. Commits bear the Assignment's epoch from then on; until the coordinator has taken note of it, a commit may be refused
//     with STALE_MEMBER_EPOCH, and is sent again with the epoch of the next Assignment.
//   - Partitions that an Assignment has no more are given up: what was consumed is committed, then a Heartbeat says what is still owned. Within the time
//     that OpenGroup named, or the member is put out. Partitions that it has anew are owned at once, and the next Heartbeat says so.
//   - A Heartbeat with another subscription needs no answer.
//   - A client that ends the stream leaves the group: a static member for the time being, others for good. When that is durable the server ends it, too. A session that is closed with the
//     code NONE leaves likewise.
//   - A stream or session that breaks has not left: within the session timeout the member goes on by an OpenGroup with its id and epoch, on any session, and
//     nothing changes. The old stream, if the server still has it, ends with FENCED_MEMBER_EPOCH.
//   - The server ends a stream by Close: NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE and COORDINATOR_LOAD_IN_PROGRESS (find the coordinator and go on), SHUTTING_DOWN (likewise),
//     FENCED_MEMBER_EPOCH and UNKNOWN_MEMBER_ID (give up everything, and join), UNRELEASED_INSTANCE_ID (join later), and what cannot be helped, such as
//     INVALID_REGULAR_EXPRESSION, GROUP_MAX_SIZE_REACHED, GROUP_AUTHORIZATION_FAILED.
//
// # Frames
//
// Numbers are big-endian. text is a u16 length and that many bytes of UTF-8. list is a u32 count and that many elements. Reserved
// fields (zero) are zero. Offsets are i64. code is an i16 of mq.Code.
//
//	0               4    5                     5 + length
//	+---------------+----+--------------------+
//	| length u32    |type| payload            |
//	+---------------+----+--------------------+
//
//	01 Hello        magic "RMQ1" | min version u16 | max version u16 | features u64 | client id text | software text
//	02 Welcome      version u16 | features u64 | cluster id 16 bytes | node id i32 | idle timeout u32 ms
//	                | batch bytes u32 | window bytes u32 | window count u32 | records bytes u32 | streams u32 | handles u32
//	03 GoAway       code | drain u32 ms | message text
//	04 Close        code | message text
//
//	10 OpenProduce  zero u8
//	11 Bind         handle u32 | zero u8 | topic text
//	12 Bound        handle u32 | code | topic id 16 bytes | partitions i32 | batch bytes u32 | message text
//	13 Produce      request u64 | handle u32 | partition i32 | durability u8 | zero u8 | zero u16 | batch: the rest
//	14 ProduceAcks  list of (request u64 | code | mark u8 | flags u8: 1 duplicate | base offset | timestamp i64 ms
//	                | log start | message text)
//
//	20 OpenFetch    isolation u8 | zero u8 | records bytes u32
//	21 Assign       handle u32 | generation u32 | origin u8 | partition i32 | leader epoch i32 | offset (-1 latest, -2 earliest) | topic text
//	22 Assigned     handle u32 | generation u32 | code | topic id 16 bytes | offset | log start | high watermark | message text
//	23 Unassign     handle u32
//	24 Pause        list of handle u32
//	25 Resume       list of handle u32
//	26 Seek         handle u32 | generation u32 | offset (as in Assign)
//	27 Records      handle u32 | generation u32 | flags u8: 1 end | zero u8 | zero u16 | next offset | high watermark | log start
//	                | log end | batches: the rest
//	28 Status       handle u32 | generation u32 | code | next offset | log start | log end | message text
//
//	30 Request      api u16 | version u8 | zero u8 | timeout u32 ms | body: the rest
//	31 Response     code | message text | body: the rest
//
//	40 OpenGroup    zero u8 | epoch i32 | rebalance timeout u32 ms | group text | member text | instance text | rack text
//	                | subscription | list of group partitions
//	41 Heartbeat    flags u8: 1 subscription, 2 owned | number u32 | with flag 1: subscription | with flag 2: list of group partitions
//	42 Assignment   flags u8: 2 changed | number u32 | epoch i32 | with flag 2: list of group partitions
//
// # Request bodies, all of version 0
//
//	1 Metadata         flags u8: 1 all | list of topic text
//	                -> cluster id 16 bytes | controller i32 | version u64 | list of broker | list of topic
//	2 CreateTopic      flags u8: 1 dry run | name text | partitions i32 | replicas i16 | list of config
//	                -> topic id 16 bytes | partitions i32 | replicas i16
//	3 DeleteTopic      zero u8 | name text -> (empty)
//	4 DescribeTopic    zero u8 | name text -> name text | topic id 16 bytes | list of config | list of partition detail
//	5 AlterTopic       flags u8: 1 dry run | name text | partitions i32 | list of config | list of key text -> (empty)
//	6 ListOffsets      isolation u8 | zero u8 | topic text | list of (partition i32 | timestamp i64)
//	                -> list of (partition i32 | code | message text | offset | timestamp i64 | leader epoch i32)
//	7 InitProducerID   zero u8 | producer id i64 | producer epoch i16 -> producer id i64 | producer epoch i16
//	8 DescribeCluster  zero u8 -> cluster id 16 bytes | node id i32 | controller i32 | feature level u32 | software text | list of broker
//	9 Operate          zero u8 | length u32 | a rustmq.admin.v1.Request -> length u32 | a rustmq.admin.v1.Response
//
//	10 FindCoordinator zero u8 | group text -> partition i32 | node i32 | leader epoch i32
//	11 CommitOffsets   zero u8 | group text | member text | instance text | epoch i32 | list of topic offsets -> list of list of code
//	12 FetchOffsets    flags u8: 1 all | group text | member text | epoch i32 | list of topic partitions -> list of topic offsets
//	13 ListGroups      zero u8 -> list of listed group | list of loading partition i32
//	14 DescribeGroup   zero u8 | group text -> listed group | epoch i32 | assignor text | list of group member | list of group partition
//	15 DeleteGroup     zero u8 | group text -> (empty)
//	16 DeleteOffsets   zero u8 | group text | list of topic partitions -> list of code
//	17 ResetOffsets    zero u8 | group text | list of topic offsets -> (empty)
//
//	broker             node id i32 | host:port text | rack text
//	topic              name text | code | message text | topic id 16 bytes | flags u8: 1 internal | list of partition
//	partition          index i32 | code | leader i32 | leader epoch i32 | list of replica i32 | list of in-sync i32
//	partition detail   partition | log start | high watermark | log end | object end | bytes i64
//	subscription       list of topic text | pattern text | assignor text
//	group partitions   topic id 16 bytes | topic text | list of partition i32
//	topic offsets      topic text | topic id 16 bytes | list of (partition i32 | offset | leader epoch i32 | metadata text)
//	topic partitions   topic text | topic id 16 bytes | list of partition i32
//	listed group       group text | protocol text | protocol type text | state text | members i32
//	group member       member text | instance text | client id text | host text | rack text | epoch i32 | list of topic text | pattern text
//	                   | list of group partitions
//	group partition    topic text | partition i32 | committed offset | end offset | metadata text | member text
//	config             key text | value text | flags u8: 1 default
//
// # Invariants
//
// A decoder reads exactly what an encoder writes: the encoding is canonical. No decoder allocates for a length or count before it has
// been checked against a limit (limits.go) and against what is there. The bytes of each frame are pinned in testdata/frames.golden.
package quicproto

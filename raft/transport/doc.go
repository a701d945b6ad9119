// Package transport carries what controllers say to each other over Connect: raft's messages, snapshots, and the questions of package
// raft/form.
//
// # What it does not do
//
// It opens no socket: [NewHandler] is served, and clients are given, by package node, which also sees to it that a connection is from a node of the
// cluster. It decides nothing: raft and raft/form do. It retries no message: raft does.
//
// # What its clients must be like
//
// Messages and snapshots go over two [connect.HTTPClient], so that they never share a connection. A connection that is cut without a sign has to be found
// out by the client's pings (HTTP2.SendPingTimeout of net/http), within about an election timeout.
//
// # A snapshot
//
// The body goes in pieces, each a stream of chunks that is answered with how many bytes are there. A piece is in the sender's memory until it was; after a break
// the sender asks with an empty stream how much has arrived, and goes on there. The receiver's state machine reads all pieces as one body.
//
//	sender                                              receiver
//	start{transfer, MsgSnap, offset 0} chunk chunk ---> ReceiveSnapshot begins to read
//	                              <--- received 4 MiB
//	start{offset 4 MiB} chunk chunk --x                 (breaks)
//	start{}                                        ---> what has arrived?
//	                              <--- received 5 MiB
//	start{offset 5 MiB} chunk end{size, crc32c}    ---> the last chunk is handed on when the sum is right
//	                              <--- done             ReceiveSnapshot has returned
//
// # Invariants
//
//  1. Send never waits. What a peer's queue has no room for is dropped and reported, and so is what was queued when a connection broke.
//  2. Nothing is taken from who has not said, first, the right cluster, group and receiver, and a node that its connection proves. A raft id that the membership
//     knows must be of that node, and one that it does not know of a controller.
//  3. A member is reported gone when its last stream has ended and a dial is refused, which only a machine without its process does; never for silence.
//  4. A message is taken only from the member that it says it is from.
//  5. A snapshot's last chunk is not handed on before length and sum of the whole body are what the sender says.
package transport

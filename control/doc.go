// Package control is how brokers and controllers work together: commands go up, images come down, and who is silent is replaced.
//
// # Purpose
//
// [Controller] is the side of the controllers: it serves ControlService (api/control/v1), and on the one that leads it judges which brokers live
// and proposes what its [Plan] functions say. [Client] is a node's way to whichever controller leads: it registers the node as a broker, heartbeats, holds the
// lease, follows the image, and proposes.
//
// # What it does not do
//
// It does not elect controllers (package raft), nor decide what a command does (package metadata): plans are functions that it is given. It
// opens no socket: handlers are served, and connections made, by whoever composes the node. It does not act on an image; it says for how long a
// broker may act as a leader, and the broker asks before it acknowledges.
//
// # How it is put together
//
// On a controller, after raft and the store are open and before the RPC listener serves:
//
//	c, err := control.NewController(control.ControllerConfig{Node: id, Group: control.Raft(raftNode, member), Store: store, Peer: ..., Dial: ..., Plans: ...})
//	mux.Handle(c.Handler())
//
// On every broker, after its RPC listener is open, for a controller that cannot connect to it takes it for dead:
//
//	k, err := control.NewClient(control.ClientConfig{Node: id, Seeds: ..., Connect: ..., Registration: ..., Local: ...})
//	epoch, err := k.Registered(ctx)
//
// The connections are closed in reverse: the client first, so that its broker is dialed, found gone and fenced at once. The HTTP servers and clients
// should ping (http.HTTP2Config.SendPingTimeout), so that a peer whose machine vanished does not leave streams behind.
//
// # A broker, as the leading controller judges it
//
//	                registered                              heartbeat: silence counts from now,
//	                    |                                   lease = Lease - age of the last proof that this controller leads
//	                    v                                   +-----+
//	 stream broke  +---------+  heartbeat over a stream  +--v-----+--+
//	+------------->| unheard |-------------------------->| connected |
//	|              +---------+                           +-----------+
//	|                |     | dial refused,                |    |
//	|                |     | or silent for Session        |    | silent for Session
//	|   dialed every |     v                              |    |
//	|   Redial  <----+  +-----------+<--------------------+----+
//	|                   | condemned |  FenceBroker is proposed until the image has it; no lease any more. A heartbeat pardons it,
//	|                   +-----------+  and it is connected, while no such command is under way or in doubt: the metadata had no room
//	|                         | the image has it
//	+---- connected           v
//	                        fenced: told so with its next heartbeat, it registers again, with another epoch
//
// A controller that begins to lead starts everybody anew, unheard, and dials all at once.
//
// # A broker, as it sees itself
//
//	                Propose(RegisterBroker)           heartbeat each 250 ms, to one leading controller after the other
//	unregistered ----------------------------> registered --+
//	     ^        ^ refused for good: it stays     |        | lease until: when the answered heartbeat was sent + what was granted
//	     |        | so, Registered says why        |        | (it goes on while a new leader is looked for)
//	     +-----------------------------------------+<-------+
//	       fenced, or another epoch: the lease ends
//
// # Invariants
//
//   - When a broker that is silent can be fenced, every lease that any controller granted it is over, with clocks that drift by up to five
//     percent. One that refuses a dial is fenced at once: its process has ended, and with it whoever could use a lease.
//   - A lease is granted only on a proof that this controller led, and counts from that proof. So a controller that was deposed and does not know
//     it grants nothing that outlives the first session of its successor.
//   - Safety of records that were acknowledged with "all" rests on epochs, never on a lease: a lease bounds how long a zombie answers "leader".
//   - Time in which a controller did not run, or does not lead, counts as nobody's silence.
//   - An error of Propose says whether the command may have been carried out ([Undecided]); such a command is not proposed twice.
//   - A node's image only goes forward. What did not change it shares with the image before.
//   - Nothing waits for a slow watcher: it is sent the difference to the latest image when it has taken what was sent before.
//   - An idle cluster proposes nothing.
package control

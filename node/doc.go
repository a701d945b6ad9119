// Package node is one RustMQ process: its configuration, its data directory, and
// the composition of everything that runs in it. It is the only package that
// knows all others.
//
// # What it does not do
//
// It gives requests no meaning (broker does) and decides nothing about the
// cluster (metadata does). Command lines are cli's.
//
// # Opening and closing
//
// [StartWith] opens from the ground up, and [Node.Close] closes in reverse, front doors first:
//
//	data directory   node.toml says whose it is; LOCK keeps a second process out
//	certificates     issued for it, or made by a node that is alone
//	nodes' listener  where the node is one of several
//	controller       founding with the others, once -> raft log -> metadata.db -> raft -> what a leading controller does
//	data log         replayed into what each partition needs to open
//	clients' socket  so that its address is known before anybody is told of it
//	cluster          this run of the node registered, which gives every partition that it led a new leader epoch
//	object store     bucket, block cache
//	reconciler       Image -> partitions, replication; after that the node holds all it ever promised
//	uploader         partitions -> objects
//	compactor        objects -> fewer and larger objects
//	front doors      QUIC, HTTP
//
// A node that is one of several hands its leaderships over before anything is closed. One without the role controller has no raft and follows the image
// from a controller; one without the role broker has no data log, no partitions and no clients.
//
// # The data directory
//
//	node.toml     format version, cluster id, node id, directory id
//	LOCK          held while a process runs
//	wal/          the data log; its sticky state names the directory id
//	raft/         the controller's log
//	metadata.db   the applied state of the controller (bbolt)
//	objects/      the bucket, unless another one is configured
//	pki/          certificates, unless another place is configured
//
// # Invariants
//
//  1. Commands go up, Images come down; only the reconciler changes what runs here.
//  2. No partition appends before this run of the node was registered: a new run never continues an old leader epoch.
//  3. A directory that is newer or another node's is refused before anything in it is changed; one that was put together from two
//     copies before this run of the node is registered, so before a partition appends.
//  4. After the first failure of a disk nothing is acknowledged any more, and [Node.Done] says so.
package node

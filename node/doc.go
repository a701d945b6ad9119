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
//	certificates     out of which the cluster's id is taken before there is a data directory, where they were issued
//	node listener    only where there may be other nodes
//	controller       raft log -> metadata.db -> raft
//	data log         replayed into what each partition needs to open
//	object store     bucket, block cache
//	cluster          formed at the very first start; this run of the node registered, which gives every partition a new leader epoch
//	reconciler       Image -> partitions; after that the node holds all it ever promised
//	uploader         partitions -> objects
//	front doors      QUIC, HTTP; of these HTTP closes last, and says meanwhile that the node drains
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

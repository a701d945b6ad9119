// Package pki makes and loads the certificates of a cluster: its authority, and
// for each node one certificate that binds the node's id and the cluster's id.
//
// # A directory
//
//	ca.crt     the authority's certificate: what clients trust
//	ca.key     its key (0600); only where certificates are issued
//	node.crt   this node's certificate
//	node.key   its key (0600)
//
// A node's certificate carries the URI rustmq://CLUSTER/node/N, which is what other nodes
// believe, and the host names and addresses that clients dial. The authority's carries
// rustmq://CLUSTER/authority, so that it is known whose it is.
//
// [NewAuthority] and [Authority.Issue] need no node that runs. [Open] is a node's own start: alone in its
// cluster it makes what is missing. [Identity.Refresh] takes up, or makes, a later certificate while the node runs.
//
// # Who is let in
//
//	ServerTLS      clients: everybody, or who shows a certificate of the authority
//	NodeServerTLS  nodes: a certificate of the authority, with the URI of a node of this cluster
//	NodeClientTLS  one node: the same, and the URI is that of the node which was dialled
//
// # What it does not do
//
// It speaks no ACME and revokes nothing, and it decides nothing about who may do what.
//
// # Invariants
//
//  1. A key is never readable by others: one that is, is refused. None is replaced while it is valid, unless that is asked for.
//  2. A file appears whole or not at all: it is written beside, synced and renamed.
//  3. A directory that has a certificate but not what belongs to it is refused, not completed.
//  4. What a node is let in by is its URI and nothing else, written in one way only; a certificate with two is nobody's.
package pki

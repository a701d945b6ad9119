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
// believe, and the host names and addresses that clients dial.
//
// # What it does not do
//
// It speaks no ACME and revokes nothing, and it decides nothing about who may do what.
//
// # Invariants
//
//  1. A key is never readable by others, and never replaced while it is valid.
//  2. A file appears whole or not at all: it is written beside, synced and renamed.
//  3. A directory that has a certificate but not what belongs to it is refused, not completed.
package pki

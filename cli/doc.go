// Package cli is the command line: it turns arguments into calls of the client
// library, of a node or of a format's tool, and results into text.
//
// # What it does not do
//
// It decides nothing about data. Client commands know the cluster through the
// client package only; serve knows the node through node.Start only.
//
// # Invariants
//
// The exit status is 0 when done, 1 when the operation failed (one line on
// stderr: what, which thing, what would be right) and 2 for a usage that makes
// no sense. Stdout carries data and nothing else. Colour and progress are for
// terminals only. Flags may stand before or after arguments ([reorder]).
// Nothing here touches the process's own streams, arguments or environment but
// through [Main]'s parameters, so that tests run commands as functions.
package cli

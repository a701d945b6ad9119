// Package metadatapb is the generated form of what the metadata is made of: the
// commands that go through raft, and the records that its database keeps.
// command.proto and record.proto say what each of them means; their numbers are
// stable for ever.
package metadatapb

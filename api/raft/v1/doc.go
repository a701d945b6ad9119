// Package raftpb is the generated form of what controllers say to each other; raft.proto says what it means.
package raftpb

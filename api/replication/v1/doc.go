// Package replicationpb is generated from replication.proto. It does not check anything: package replication does.
package replicationpb

// Package adminpb is what operators ask of a cluster, generated from admin.proto.
package adminpb

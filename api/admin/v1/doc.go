// Package adminpb is what operators ask of a cluster, generated from admin.proto, and how its messages are carried as bytes.
package adminpb

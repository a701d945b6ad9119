// Package filestore is a durable gocloud.dev blob driver on a directory.
package filestore

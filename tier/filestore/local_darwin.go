package filestore

import "golang.org/x/sys/unix"

// isLocal says whether a file system keeps its files on devices of this machine, as the system says.
func isLocal(st *unix.Statfs_t) bool { return st.Flags&unix.MNT_LOCAL != 0 }

package filestore

import "golang.org/x/sys/unix"

// Magic numbers that package unix has no names for.
const (
	zfsMagic      = 0x2fc12fc1
	bcachefsMagic = 0xca451a4e
)

// isLocal says whether a file system keeps its files on devices of this machine, by its kind. Of a kind that is not known that is not assumed: it may be another machine's, or a program's;
// nor of an overlay, which may be told not to sync.
func isLocal(st *unix.Statfs_t) bool {
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, zfsMagic, bcachefsMagic, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

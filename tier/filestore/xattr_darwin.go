package filestore

import "golang.org/x/sys/unix"

const errNoAttr = unix.ENOATTR

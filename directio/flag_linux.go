package directio

import "golang.org/x/sys/unix"

// Flag is what a file is opened with for direct I/O, 0 where there is none.
const Flag = unix.O_DIRECT

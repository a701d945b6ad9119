package transport

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// limitSilence bounds how long what was sent may go without an acknowledgement.
func limitSilence(c *net.TCPConn, idle time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	// Without it a connection lives on until TCP itself gives up, which is only later.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(idle.Milliseconds()))
	})
}

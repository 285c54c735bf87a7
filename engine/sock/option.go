package sock

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SetNoDelay turns Nagle's algorithm off (true) or on.
func SetNoDelay(fd int, on bool) syscall.Errno {
	v := 0
	if on {
		v = 1
	}
	return setInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, v)
}

// SetKeepAlive turns TCP keep-alive probes on. Zero values leave the system's.
// Durations are rounded up to seconds.
func SetKeepAlive(fd int, idle, interval time.Duration, count int) syscall.Errno {
	e := setInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	if e == 0 && idle > 0 {
		e = setInt(fd, unix.IPPROTO_TCP, tcpKeepIdle, seconds(idle))
	}
	if e == 0 && interval > 0 {
		e = setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(interval))
	}
	if e == 0 && count > 0 {
		e = setInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, count)
	}
	return e
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// SocketError returns and clears the socket's pending error.
func SocketError(fd int) syscall.Errno {
	v, e := getInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if e != 0 {
		return e
	}
	return syscall.Errno(v)
}

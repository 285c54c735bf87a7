//go:build unix

package origin

import (
	"fmt"
	"syscall"
)

// Refuse returns a loopback address that refuses connections until release is called: a socket holds the
// port, so that nobody else gets it, and does not listen.
func Refuse() (addr string, release func(), err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return "", nil, fmt.Errorf("socket: %w", err)
	}
	syscall.CloseOnExec(fd)
	if err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		var sa syscall.Sockaddr
		if sa, err = syscall.Getsockname(fd); err == nil {
			return fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port), func() { _ = syscall.Close(fd) }, nil
		}
	}
	_ = syscall.Close(fd)
	return "", nil, fmt.Errorf("bind: %w", err)
}

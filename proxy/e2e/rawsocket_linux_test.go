package e2e

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// rawOrigin is a listening socket used by plain system calls, which allocate nothing.
type rawOrigin struct {
	fd   int
	addr netip.AddrPort
}

func newRawOrigin(t *testing.T) *rawOrigin {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	o := &rawOrigin{fd: fd}
	t.Cleanup(o.Stop)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	o.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	return o
}

func (o *rawOrigin) Address() string { return o.addr.String() }
func (o *rawOrigin) Stop() {
	if o.fd >= 0 {
		unix.Close(o.fd)
		o.fd = -1
	}
}

func (o *rawOrigin) accept(t *testing.T) int {
	fd, _, e := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(o.fd), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		t.Fatal(e)
	}
	return int(fd)
}

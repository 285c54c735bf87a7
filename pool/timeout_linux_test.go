package pool

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

// silent returns an address that answers no more connections: its backlog is full,
// which other systems answer with a reset.
func silent(t testing.TB) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in := name.(*syscall.SockaddrInet4)
	addr := netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
	for range 8 {
		c, err := net.DialTimeout("tcp4", addr.String(), 50*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("the backlog does not fill")
	return addr
}

func TestConnectTimeout(t *testing.T) {
	f := open(t, Options{Dial: engine.DialSpec{Addr: silent(t)}, ConnectTimeout: 50 * time.Millisecond})
	began := time.Now()
	k := f.acquire()
	f.until("it fails", func() bool { return k.failed })
	if k.failure != ConnectTimeout || f.events.timeouts != 1 || time.Since(began) < 50*time.Millisecond {
		t.Errorf("failed with %v after %v", k.failure, time.Since(began))
	}
	f.settled()
}

//go:build linux && !race

package poll

import (
	"log/slog"
	"net"
	"testing"
	"time"
)

func TestRegisteringWakingAndTimersDoNotAllocate(t *testing.T) {
	p, err := New(&recorder{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	if n := testing.AllocsPerRun(100, func() {
		if err := p.Add(fd); err != nil {
			t.Fatal(err)
		}
		p.Remove(fd)
		p.Wake()
		p.SetTimer(time.Hour)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

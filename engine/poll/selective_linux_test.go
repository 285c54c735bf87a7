package poll

import (
	"net"
	"testing"
	"time"
)

// TestReadsRoomAndAll sees which events stay away. That one does is shown by another that comes after it would have.
func TestReadsRoomAndAll(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	defer f.Close()
	fd := int(f.Fd())
	r := run(t, nil)
	see := func(what string, want Events) {
		t.Helper()
		select {
		case ev := <-r.events:
			if ev != want {
				t.Errorf("%s: %b, want %b", what, ev, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("never: %s", what)
		}
	}
	send := func() {
		t.Helper()
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ask(r.p.AddReader(fd))
	send()
	see("bytes, when asked for them", Readable)
	ask(r.p.All(fd))
	see("everything", Readable|Writable)
	ask(r.p.Room(fd))
	see("room", Writable)
	for range 10 {
		send()
	}
	ask(r.p.Reads(fd))
	see("the bytes that were kept quiet, together", Readable)
	ask(r.p.Room(fd))
	see("room again", Writable)
	send()
	_ = s.(*net.TCPConn).CloseWrite()
	see("the FIN, although bytes are not asked for", Readable|Writable|Hangup)
	ask(r.p.Reads(fd))
	see("bytes and the FIN", Readable|Hangup)
	ask(r.p.Room(fd))
	see("the FIN again", Readable|Writable|Hangup)
	_ = s.(*net.TCPConn).SetLinger(0)
	s.Close()
	see("the reset", Readable|Writable|Hangup|Failed)
	r.p.Remove(fd)
	for what, err := range map[string]error{"All": r.p.All(fd), "Reads": r.p.Reads(fd), "Room": r.p.Room(fd)} {
		if err == nil {
			t.Errorf("%s of what is not registered", what)
		}
	}
}

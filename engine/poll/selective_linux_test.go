package poll

import (
	"net"
	"testing"
	"time"
)

// TestReadsRoomAndAll sees which events stay away. That one does is shown by another that comes after it would have.
func TestReadsRoomAndAll(t *testing.T) {
	fd, s := pair(t)
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

package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Who connects to a listener of a snapshot that is then refused was never served by it.
func TestARefusedListenerServesNobody(t *testing.T) {
	s, err := New(Options{Config: &conf.Bootstrap{}, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	m := conf.NewHTTPConnectionManager("in")
	m.Routes = &conf.RouteConfiguration{}
	c := conf.NewListener("in", netip.MustParseAddrPort("127.0.0.1:0"), &conf.FilterChain{HTTP: m})
	for _, taken := range []bool{false, true} {
		s.mu.Lock()
		ch, err := s.prepare(&conf.Bootstrap{Listeners: []*conf.Listener{c}})
		s.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", ch.added[0].l.addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); s.Connections() == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the connection is not accepted")
			}
		}
		_, busy := ch.added[0].l.load(s)
		if busy != 0 {
			t.Error("a request is under way before the snapshot is in force")
		}
		s.mu.Lock()
		if taken {
			s.commit(&conf.Bootstrap{Listeners: []*conf.Listener{c}}, ch)
		} else {
			s.undo(ch)
		}
		s.mu.Unlock()
		_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
		got, err := io.ReadAll(client)
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			t.Fatal(err)
		}
		if taken != (len(got) > 0) {
			t.Errorf("taken %t: the client got %q", taken, got)
		}
		for deadline := time.Now().Add(10 * time.Second); s.Connections() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the connection stays")
			}
		}
	}
}

package harness

import (
	"net"
	"testing"

	"github.com/sluiceproxy/sluice/bench/origin"
)

// Origin is an upstream endpoint. A proxy that was given one stops it at the end of the test, so that
// pooled connections end and can be counted. Stop may be called more than once.
type Origin interface {
	Address() string
	Stop()
}

// Server is a well-behaved origin (see package origin for its paths).
type Server struct{ *origin.Server }

// NewOrigin starts a well-behaved origin.
func NewOrigin(t testing.TB, name string) *Server {
	t.Helper()
	s, err := origin.New(origin.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return &Server{s}
}

// Address implements Origin.
func (s *Server) Address() string { return s.Addr().String() }

// Scripted is an origin that misbehaves as scripted.
type Scripted struct{ *origin.Scripted }

// NewScripted starts a scripted origin.
func NewScripted(t testing.TB, scripts ...origin.Script) *Scripted {
	t.Helper()
	s, err := origin.NewScripted(scripts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return &Scripted{s}
}

// Address implements Origin.
func (s *Scripted) Address() string { return s.Addr() }

// At is an address somebody else looks after.
type At string

// Address implements Origin.
func (a At) Address() string { return string(a) }

// Stop implements Origin.
func (At) Stop() {}

// Refusing returns an address where nobody listens. The port stays bound for the length of the test,
// so that nobody else gets it.
func Refusing(t testing.TB) Origin {
	t.Helper()
	// A connected socket's local port refuses connections and cannot be bound by others.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
		_ = ln.Close()
	})
	return At(c.LocalAddr().String())
}

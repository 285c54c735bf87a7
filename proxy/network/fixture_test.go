package network

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/tokenbucket"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// newLoop returns what a loop shows to filters. Its clock stands still.
func newLoop(r *stats.Registry) *Connection {
	return &Connection{Worker: &worker.Worker{Loop: new(engine.Loop), Stats: r.NewShard(), Random: rand.New(rand.NewPCG(1, 2))}}
}

func deps(r *stats.Registry) Deps { return Deps{Registry: r, Buckets: new(tokenbucket.Buckets)} }

func compile(t testing.TB, c *conf.NetworkFilter, d Deps) Filter {
	t.Helper()
	f, err := Compile(c, d)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// connection returns the facts of a TLS connection from 192.0.2.7 to 10.0.0.1:443.
func connection() *streaminfo.Connection {
	return &streaminfo.Connection{
		ID: 1, Remote: netip.MustParseAddrPort("192.0.2.7:4711"), Local: netip.MustParseAddrPort("10.0.0.1:443"),
		Listener: &streaminfo.Listener{Name: "in"}, Extra: &streaminfo.Extra{ServerName: []byte("blue.example")},
	}
}

// try shows a connection to the filter.
func (c *Connection) try(f Filter, facts *streaminfo.Connection) Verdict {
	c.Facts = facts
	return f.OnNewConnection(c)
}

func state(f *streaminfo.Connection, key string) string {
	v, ok := f.FilterState(key)
	if !ok {
		return "(unset)"
	}
	return string(v)
}

func metadata(f *streaminfo.Connection, namespace, key string) string {
	if f.Extra == nil {
		return "(unset)"
	}
	v, ok := f.Extra.Metadata.Get(namespace, key)
	if !ok {
		return "(unset)"
	}
	return string(v)
}

// value reads a counter or gauge; -1 when nothing of the name is registered.
func value(r *stats.Registry, name string) int64 {
	m := r.Collect()
	for _, c := range m.Counters {
		if c.Name == name {
			return int64(c.Value)
		}
	}
	for _, g := range m.Gauges {
		if g.Name == name {
			return g.Value
		}
	}
	return -1
}

func wantValues(t *testing.T, r *stats.Registry, want map[string]int64) {
	t.Helper()
	for name, n := range want {
		if got := value(r, name); got != n {
			t.Errorf("%s is %d, want %d", name, got, n)
		}
	}
}

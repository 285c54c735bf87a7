package worker

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// A text that moves from one part of a wish to another makes another wish.
func TestWishesThatDifferHaveDifferentKeys(t *testing.T) {
	x, y := []byte("x"), []byte("y")
	seen := map[string]int{}
	for i, w := range []Wish{
		{}, {ServerName: x}, {ALPN: x}, {SANs: x}, {ServerName: x, ALPN: x}, {ServerName: []byte("xx")}, {ServerName: x, SANs: x}, {ALPN: x, SANs: x},
		{ServerName: y}, {SANs: []byte("\x00\x01x")}, {ALPN: []byte("x\x00\x01x")},
	} {
		key := string(w.appendKey(nil))
		if j, ok := seen[key]; ok {
			t.Errorf("wishes %d and %d have the same key %q", i, j, key)
		}
		seen[key] = i
	}
	a, b := Wish{ServerName: x, Preface: y}, Wish{ServerName: x}
	if string(a.appendKey(nil)) != string(b.appendKey(nil)) {
		t.Error("the preface is no part of the key")
	}
}

func TestWishesFromFilterState(t *testing.T) { // tcp_proxy.md 11
	var s streaminfo.FilterState
	s.Set(streaminfo.KeyTCPCluster, []byte("c"), false)
	s.Set(streaminfo.KeyUpstreamServerName, nil, false)
	w := Wish{SANs: []byte("own")}
	if w.FromState(&s) || w.ServerName != nil || string(w.SANs) != "own" {
		t.Errorf("of nothing: %+v", w)
	}
	s.Set(streaminfo.KeyUpstreamServerName, []byte("n"), false)
	s.Set(streaminfo.KeyUpstreamALPN, []byte("h2"), false)
	if !w.FromState(&s) || string(w.ServerName) != "n" || string(w.ALPN) != "h2" || string(w.SANs) != "own" {
		t.Errorf("name %q, ALPN %q, SANs %q", w.ServerName, w.ALPN, w.SANs)
	}
}

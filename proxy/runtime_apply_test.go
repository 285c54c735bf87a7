package proxy_test

import (
	"net/netip"
	"testing"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// OP-30: a new configuration brings its layers, what was modified stays, and one that is refused changes
// nothing.
func TestOP30RuntimeFollowsTheConfiguration(t *testing.T) {
	config := func(value string) *conf.Bootstrap {
		hcm := conf.NewHTTPConnectionManager("in")
		hcm.Routes = &conf.RouteConfiguration{}
		return &conf.Bootstrap{
			Listeners: []*conf.Listener{conf.NewListener("in", netip.MustParseAddrPort("127.0.0.1:0"), &conf.FilterChain{HTTP: hcm})},
			RuntimeLayers: []conf.RuntimeLayer{
				{Name: "static", Values: map[string]string{"a": value, "b": value}}, {Name: "admin", Admin: true},
			},
		}
	}
	s, err := proxy.New(proxy.Options{Config: config("1"), Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b := s.Runtime().Uint("a", 9), s.Runtime().Uint("b", 9)
	want := func(wa, wb uint64) {
		t.Helper()
		if a.Load() != wa || b.Load() != wb {
			t.Errorf("a %d, b %d; want %d and %d", a.Load(), b.Load(), wa, wb)
		}
	}
	want(1, 1)
	if err := s.Runtime().Modify(map[string]string{"b": "5"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(config("2")); err != nil {
		t.Fatal(err)
	}
	want(2, 5)
	broken := config("3")
	broken.Listeners[0].FilterChains[0].HTTP.Filters = []*conf.HTTPFilter{{Name: "nobody's"}}
	if err := s.Apply(broken); err == nil {
		t.Error("a filter nobody registered is taken")
	}
	want(2, 5)
	// Without layers an embedder's values are one, and there is an admin layer still.
	plain := config("")
	plain.RuntimeLayers, plain.Runtime = nil, map[string]string{"a": "4"}
	if err := s.Apply(plain); err != nil {
		t.Fatal(err)
	}
	want(4, 5)
}

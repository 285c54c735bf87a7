package cluster

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Which of transport_socket_matches an endpoint's connections begin with (clusters.md 1): the first one all
// of whose values the endpoint has, then by its locality's values, else the cluster's own.
func TestSocketsAreChosenByMetadata(t *testing.T) {
	type m = conf.LBMetadata
	named := func(want m) conf.TransportSocketMatch {
		return conf.TransportSocketMatch{Match: want, Proxy: new(conf.UpstreamProxyProtocol)}
	}
	base := conf.NewCluster("c")
	base.ProxyProtocol = new(conf.UpstreamProxyProtocol)
	for _, row := range []struct {
		title              string
		matches            []m
		endpoint, locality m
		want               int // -1: the cluster's own
	}{
		{"no matches", nil, m{"a": "1"}, nil, -1},
		{"none matches", []m{{"a": "1"}}, m{"a": "2"}, nil, -1},
		{"no metadata", []m{{"a": "1"}}, nil, nil, -1},
		{"one value", []m{{"a": "1"}}, m{"a": "1", "b": "2"}, nil, 0},
		{"text is no number", []m{{"a": "1"}}, m{"a": `"1"`}, nil, -1},
		{"all values", []m{{"a": "1", "b": "2"}, {"a": "1"}}, m{"a": "1", "b": "3"}, nil, 1},
		{"the first that matches", []m{{"x": "1"}, {"b": "2"}, {"a": "1"}}, m{"a": "1", "b": "2"}, nil, 1},
		{"an empty one matches all", []m{{"x": "1"}, {}}, nil, nil, 1},
		{"the locality's", []m{{"a": "1"}}, m{"b": "1"}, m{"a": "1"}, 0},
		{"the endpoint's before the locality's", []m{{"a": "1"}, {"b": "1"}}, m{"b": "1"}, m{"a": "1"}, 1},
		{"not some of each", []m{{"a": "1", "b": "1"}}, m{"b": "1"}, m{"a": "1"}, -1},
	} {
		c := *base
		for _, want := range row.matches {
			c.SocketMatches = append(c.SocketMatches, named(want))
		}
		ts, err := openTransports(nil, &c)
		if err != nil {
			t.Fatal(err)
		}
		want := c.ProxyProtocol
		if row.want >= 0 {
			want = c.SocketMatches[row.want].Proxy
		}
		if got := ts.of(&conf.Endpoint{SocketMetadata: row.endpoint, LocalitySocketMetadata: row.locality}); got.proxy != want || got.context != nil {
			t.Errorf("%s: another one", row.title)
		}
	}
	if (*transports)(nil).of(&conf.Endpoint{}) != (transport{}) {
		t.Error("a cluster without sockets has one")
	}
	secure := *base
	secure.TLS = new(conf.UpstreamTLS)
	if _, err := openTransports(nil, &secure); err == nil {
		t.Error("TLS without anything that makes it")
	}
}

package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// clientHello returns the first flight of a TLS client.
func clientHello(t testing.TB, name string, alpn ...string) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	go func() {
		defer here.Close()
		_ = tls.Client(here, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: alpn}).Handshake()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(there, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(there, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// clustersNamed makes clusters whose origins say the cluster's name first.
func clustersNamed(t *testing.T, names ...string) (out []harness.Cluster) {
	for _, n := range names {
		out = append(out, harness.Cluster{Name: n, Origins: []harness.Origin{harness.NewRaw(t, harness.Named(n))}})
	}
	return out
}

const (
	clusterKey = "envoy.tcp_proxy.cluster"
)

var (
	tlsInspector  = harness.ListenerFilter("tls_inspector", "TlsInspector", "")
	httpInspector = harness.ListenerFilter("http_inspector", "HttpInspector", "")
	sniCluster    = harness.NetworkFilter("sni_cluster", "SniCluster", "")
)

// bySource is an embedder's filter: clients at 127.0.0.2 go to cluster b.
type bySource struct{}

func (bySource) OnNewConnection(c *network.Connection) network.Verdict {
	if c.Facts.Remote.Addr().As4()[3] == 2 {
		c.Extra().State.Set(streaminfo.KeyTCPCluster, []byte("b"), false)
	}
	return network.Verdict{}
}

// TCP-10, TCP-11: filter state names the cluster, unless there are weighted ones.
func TestTCPClusterOfAConnection(t *testing.T) {
	harness.NoLeaks(t)
	const weighted = "weighted_clusters: { clusters: [{ name: a, weight: 1 }] }"
	for name, tc := range map[string]struct {
		filters, proxy, listener, send, from, want string
	}{
		"configured":                          {want: "a"},
		"set_filter_state":                    {filters: harness.SetFilterState(clusterKey, "b"), want: "b"},
		"set_filter_state, weighted clusters": {filters: harness.SetFilterState(clusterKey, "b"), proxy: weighted, want: "a"},
		"set_filter_state with an operator":   {filters: harness.SetFilterState(clusterKey, "%REQUESTED_SERVER_NAME%"), listener: tlsInspector, send: "c", want: "c"},
		"sni_cluster":                         {filters: sniCluster, listener: tlsInspector, send: "b", want: "b"},
		"sni_cluster without a name":          {filters: sniCluster, listener: tlsInspector, send: "-", want: "a"},
		"sni_cluster, then set_filter_state":  {filters: sniCluster + harness.SetFilterState(clusterKey, "c"), listener: tlsInspector, send: "b", want: "c"},
		"the later of two set_filter_state":   {filters: harness.SetFilterState(clusterKey, "b") + harness.SetFilterState(clusterKey, "c"), want: "c"},
		"an embedder's filter, then sni":      {filters: "- name: by-source\n" + sniCluster, listener: tlsInspector, send: "c", from: "127.0.0.2", want: "c"},
		"sni, then an embedder's filter":      {filters: sniCluster + "- name: by-source\n", listener: tlsInspector, send: "c", from: "127.0.0.2", want: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: clustersNamed(t, "a", "b", "c"), Filters: tc.filters, Proxy: tc.proxy, ListenerFilters: tc.listener,
				NetworkFilters: map[string]network.Factory{"by-source": func(string) (network.Filter, error) { return bySource{}, nil }},
				LogFormat:      "%UPSTREAM_CLUSTER% %REQUESTED_SERVER_NAME%",
			})
			from := tc.from
			if from == "" {
				from = "127.0.0.1"
			}
			c := p.DialFrom(from)
			sni := "-"
			if tc.send == "-" {
				c.Send(string(clientHello(t, "")))
			} else if tc.send != "" {
				sni = tc.send
				c.Send(string(clientHello(t, tc.send)))
			}
			if who := c.Line(); who != tc.want {
				t.Errorf("cluster %q, want %q", who, tc.want)
			}
			c.Close()
			p.WantLines(tc.want + " " + sni)
		})
	}
}

// An embedder's own filter chooses the cluster of each connection (proxy.Options.NetworkFilters).
func TestTCPClusterByAnEmbeddersFilter(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: clustersNamed(t, "a", "b"), Filters: "- name: by-source\n",
		NetworkFilters: map[string]network.Factory{"by-source": func(string) (network.Filter, error) { return bySource{}, nil }},
	})
	for _, tc := range []struct{ from, want string }{{"127.0.0.1", "a"}, {"127.0.0.2", "b"}, {"127.0.0.3", "a"}} {
		c := p.DialFrom(tc.from)
		if who := c.Line(); who != tc.want {
			t.Errorf("%s goes to %s, want %s", tc.from, who, tc.want)
		}
		c.Close()
	}
	p.AwaitLines(3)
}

// TCP-11: connections are shared out by weight.
func TestTCPWeightedClusters(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: clustersNamed(t, "a", "b"), Proxy: "weighted_clusters: { clusters: [{ name: a, weight: 3 }, { name: b, weight: 1 }] }",
	})
	const sessions = 400
	got := map[string]int{}
	for range sessions {
		c := p.Dial()
		got[c.Line()]++
		c.Close()
	}
	// Six standard deviations: 400 * 1/4, +- 52.
	if got["a"]+got["b"] != sessions || got["b"] < 48 || got["b"] > 152 {
		t.Errorf("%v of %d", got, sessions)
	}
	p.AwaitLines(sessions)
	p.WantStats(harness.Stats{"cluster.a.upstream_cx_total": int64(got["a"]), "cluster.b.upstream_cx_total": int64(got["b"])})
}

const subsets = "lb_subset_config:\n  fallback_policy: %s\n  subset_selectors: [{ keys: [version] }, { keys: [version, zone] }]"

// subsetCluster has three hosts: v1 in east, v1 in west, v2 in east.
func subsetCluster(t *testing.T, fallback string) []harness.Cluster {
	c := harness.Cluster{Name: "origin", Fields: fmt.Sprintf(subsets, fallback)}
	for _, host := range [][2]string{{"v1", "east"}, {"v1", "west"}, {"v2", "east"}} {
		c.Origins = append(c.Origins, harness.NewRaw(t, harness.Named(host[0]+"-"+host[1])))
		c.Labels = append(c.Labels, fmt.Sprintf("{ version: %s, zone: %s }", host[0], host[1]))
	}
	return []harness.Cluster{c}
}

func proxyV2(src, dst string, tlvs ...string) string {
	var b bytes.Buffer
	b.WriteString("\r\n\r\n\x00\r\nQUIT\n\x21\x11")
	var body bytes.Buffer
	for _, a := range []string{src, dst} {
		at, err := net.ResolveTCPAddr("tcp4", a)
		if err != nil {
			panic(err)
		}
		body.Write(at.IP.To4())
	}
	for _, a := range []string{src, dst} {
		at, _ := net.ResolveTCPAddr("tcp4", a)
		body.Write([]byte{byte(at.Port >> 8), byte(at.Port)})
	}
	for i := 0; i+1 < len(tlvs); i += 2 {
		body.WriteString(tlv(tlvs[i][0], tlvs[i+1]))
	}
	b.Write([]byte{byte(body.Len() >> 8), byte(body.Len())})
	b.Write(body.Bytes())
	return b.String()
}

func tlv(kind byte, value string) string {
	return string([]byte{kind, byte(len(value) >> 8), byte(len(value))}) + value
}

func proxyProtocol(fields string) string {
	return harness.ListenerFilter("proxy_protocol", "ProxyProtocol", fields)
}

// TCP-20, TCP-21: criteria of the filter, of the weighted cluster over it, of the connection's own
// metadata over both; only envoy.lb counts.
func TestTCPSubsets(t *testing.T) {
	harness.NoLeaks(t)
	const (
		filterV1 = "metadata_match: { filter_metadata: { envoy.lb: { version: v1 } } }\n"
		filterV2 = "metadata_match: { filter_metadata: { envoy.lb: { version: v2 } } }\n"
		clusterX = "weighted_clusters: { clusters: [{ name: origin, weight: 1, metadata_match: { filter_metadata: { envoy.lb: { zone: east } } } }] }\n"
		clusterV = "weighted_clusters: { clusters: [{ name: origin, weight: 1, metadata_match: { filter_metadata: { envoy.lb: { version: v2 } } } }] }\n"
		fromTLV  = "rules: [{ tlv_type: 0xe0, on_tlv_present: { metadata_namespace: envoy.lb, key: version } }, { tlv_type: 0xe1, on_tlv_present: { metadata_namespace: envoy.lb, key: zone } }]"
		elseTLV  = "rules: [{ tlv_type: 0xe0, on_tlv_present: { key: version } }]"
	)
	header := func(tlvs ...string) string { return proxyV2("10.1.2.3:1000", "10.4.5.6:2000", tlvs...) }
	for name, tc := range map[string]struct {
		proxy, rules, send string
		want               []string // any of these, all of them
		fallback           string
		none               bool // flag UH
	}{
		"the filter's":                              {proxy: filterV2, want: []string{"v2-east"}},
		"the filter's, two hosts":                   {proxy: filterV1, want: []string{"v1-east", "v1-west"}},
		"the cluster's with the filter's":           {proxy: filterV1 + clusterX, want: []string{"v1-east"}},
		"the cluster's over the filter's":           {proxy: filterV1 + clusterV, want: []string{"v2-east"}},
		"the connection's":                          {rules: fromTLV, send: header("\xe0", "v2"), want: []string{"v2-east"}},
		"the connection's over the filter's":        {proxy: filterV1, rules: fromTLV, send: header("\xe0", "v2"), want: []string{"v2-east"}},
		"the connection's over all":                 {proxy: filterV1 + clusterX, rules: fromTLV, send: header("\xe0", "v1", "\xe1", "west"), want: []string{"v1-west"}},
		"the connection's beside the filter's":      {proxy: filterV1, rules: fromTLV, send: header("\xe1", "west"), want: []string{"v1-west"}},
		"another namespace does not count (TCP-21)": {proxy: filterV1, rules: elseTLV, send: header("\xe0", "v2"), want: []string{"v1-east", "v1-west"}},
		"no TLV":                    {proxy: filterV2, rules: fromTLV, send: header(), want: []string{"v2-east"}},
		"no such subset":            {rules: fromTLV, send: header("\xe0", "v9"), none: true},
		"no such subset, any host":  {rules: fromTLV, send: header("\xe0", "v9"), fallback: "ANY_ENDPOINT", want: []string{"v1-east", "v1-west", "v2-east"}},
		"no criteria, any endpoint": {fallback: "ANY_ENDPOINT", want: []string{"v1-east", "v1-west", "v2-east"}},
	} {
		t.Run(name, func(t *testing.T) {
			fallback := tc.fallback
			if fallback == "" {
				fallback = "NO_FALLBACK"
			}
			top := harness.TCPTopology{Clusters: subsetCluster(t, fallback), Proxy: tc.proxy}
			if tc.rules != "" {
				top.ListenerFilters = proxyProtocol(tc.rules)
			}
			p := harness.StartTCP(t, top)
			if tc.none {
				if err := p.Dial().Send(tc.send).WantEnd(); err != nil {
					t.Error(err)
				}
				p.WantLine("TcpConnectionEnd UH no_healthy_upstream ")
				p.WantStats(harness.Stats{onOrigin + "upstream_cx_none_healthy": 1, onOrigin + "lb_subsets_fallback": 0})
				return
			}
			got := map[string]int{}
			const sessions = 6
			for range sessions {
				c := p.Dial().Send(tc.send)
				got[c.Line()]++
				c.Close()
			}
			sum := 0
			for _, w := range tc.want {
				if got[w] == 0 {
					t.Errorf("%s was never chosen: %v", w, got)
				}
				sum += got[w]
			}
			if sum != sessions {
				t.Errorf("%v, want %v only", got, tc.want)
			}
			if tc.fallback == "" {
				p.WantStats(harness.Stats{onOrigin + "lb_subsets_selected": sessions, onOrigin + "lb_subsets_fallback": 0})
			} else {
				p.WantStats(harness.Stats{onOrigin + "lb_subsets_selected": 0, onOrigin + "lb_subsets_fallback": sessions})
			}
			p.AwaitLines(sessions)
		})
	}
}

// TCP-25: the same client address, or the same state, has the same host; without either any host.
func TestTCPHashPolicy(t *testing.T) {
	harness.NoLeaks(t)
	const hosts = 5
	for _, policy := range []string{"RING_HASH", "MAGLEV"} {
		cluster := func(t *testing.T) []harness.Cluster {
			c := harness.Cluster{Name: "origin", Fields: "lb_policy: " + policy}
			for i := range hosts {
				c.Origins = append(c.Origins, harness.NewRaw(t, harness.Named(strconv.Itoa(i))))
			}
			return []harness.Cluster{c}
		}
		// once returns who answers, and is over when the session is.
		once := func(p *harness.Proxy, from, header string) string {
			c := p.DialFrom(from).Send(header)
			defer c.Close()
			return c.Line()
		}
		t.Run(policy+" by source_ip", func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: cluster(t), Proxy: "hash_policy: [{ source_ip: {} }]", Loops: 2})
			seen := map[string]bool{}
			for i := range 20 {
				from := fmt.Sprintf("127.0.0.%d", 10+i)
				who := once(p, from, "")
				for range 3 {
					if again := once(p, from, ""); again != who {
						t.Errorf("%s goes to %s, then to %s", from, who, again)
					}
				}
				seen[who] = true
			}
			if len(seen) < 2 {
				t.Errorf("20 addresses went to %v", seen)
			}
			p.AwaitLines(80)
		})
		t.Run(policy+" by source_ip of a PROXY header", func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: cluster(t), Proxy: "hash_policy: [{ source_ip: {} }]", ListenerFilters: proxyProtocol(""),
			})
			seen := map[string]bool{}
			for i := range 20 {
				source := fmt.Sprintf("10.0.0.%d", i)
				who := once(p, "127.0.0.1", "PROXY TCP4 "+source+" 10.9.9.9 1 2\r\n")
				if again := once(p, "127.0.0.2", proxyV2(source+":77", "10.9.9.9:2")); again != who {
					t.Errorf("%s goes to %s, then to %s", source, who, again)
				}
				seen[who] = true
			}
			if len(seen) < 2 {
				t.Errorf("20 addresses went to %v", seen)
			}
			p.AwaitLines(40)
		})
		t.Run(policy+" by filter_state", func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: cluster(t), ListenerFilters: tlsInspector, Filters: harness.SetFilterState("tenant", "%REQUESTED_SERVER_NAME%"),
				Proxy: "hash_policy: [{ filter_state: { key: tenant } }]",
			})
			seen := map[string]bool{}
			for i := range 20 {
				hello := string(clientHello(t, fmt.Sprintf("tenant%d", i)))
				who := once(p, "127.0.0.1", hello)
				if again := once(p, "127.0.0.2", hello); again != who {
					t.Errorf("tenant %d goes to %s, then to %s", i, who, again)
				}
				seen[who] = true
			}
			if len(seen) < 2 {
				t.Errorf("20 tenants went to %v", seen)
			}
			p.AwaitLines(40)
		})
		t.Run(policy+" without a value", func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: cluster(t), Proxy: "hash_policy: [{ filter_state: { key: absent } }]"})
			seen := map[string]bool{}
			const sessions = 60 // all to one of 5 by chance: 5^-59
			for range sessions {
				seen[once(p, "127.0.0.1", "")] = true
			}
			if len(seen) < 2 {
				t.Errorf("%d connections went to %v", sessions, seen)
			}
			p.AwaitLines(sessions)
		})
	}
}

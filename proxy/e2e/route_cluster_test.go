package e2e

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// namedClusters are clusters of one recorder each, which answers with the cluster's name.
func namedClusters(t *testing.T, names ...string) ([]harness.Cluster, map[string]*harness.Recorder) {
	t.Helper()
	var out []harness.Cluster
	all := map[string]*harness.Recorder{}
	for _, name := range names {
		all[name] = harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply(name) })
		out = append(out, harness.Cluster{Name: name, Origins: []harness.Origin{all[name]}})
	}
	return out, all
}

// shares asks n times over one connection and counts the answers.
func shares(t *testing.T, p *harness.Proxy, n int, request func(i int) string) map[string]int {
	t.Helper()
	w := harness.DialWire(t, "tcp", p.Addr)
	defer w.Close()
	out := map[string]int{}
	for i := range n {
		out[string(w.Do(request(i)).Body)]++
	}
	return out
}

func getOf(path string, fields ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: h\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// within says whether a count is what a share of n draws is but once in a million runs: five standard
// deviations.
func within(t *testing.T, what string, got, n int, share float64) {
	t.Helper()
	sigma := math.Sqrt(float64(n) * share * (1 - share))
	if d := math.Abs(float64(got) - float64(n)*share); d > 5*sigma {
		t.Errorf("%s: %d of %d, want %.0f (deviation %.1f of at most %.1f)", what, got, n, float64(n)*share, d, 5*sigma)
	}
}

// RT-70, RT-72, RT-76: 90/10 over 10,000 requests; RT-53: a fraction of 30 % over as many.
func TestRT76Distribution(t *testing.T) {
	harness.NoLeaks(t)
	clusters, _ := namedClusters(t, "a", "b")
	p := harness.Start(t, harness.Topology{Clusters: clusters, Routes: `
- match: { prefix: /split }
  route: { weighted_clusters: { total_weight: 7, clusters: [{ name: a, weight: 90 }, { name: b, weight: 10 }] } }
- match: { prefix: /, runtime_fraction: { default_value: { numerator: 3000, denominator: TEN_THOUSAND } } }
  direct_response: { status: 200, body: { inline_string: first } }
- match: { prefix: / }
  direct_response: { status: 200, body: { inline_string: second } }
`})
	const n = 10_000
	got := shares(t, p, n, func(int) string { return getOf("/split") })
	within(t, "cluster a", got["a"], n, .9)
	if got["a"]+got["b"] != n {
		t.Errorf("%v", got)
	}
	got = shares(t, p, n, func(int) string { return getOf("/") })
	within(t, "the first route", got["first"], n, .3)
	if got["first"]+got["second"] != n {
		t.Errorf("%v", got)
	}
}

// RT-72, RT-73: what chooses among weighted clusters, and the runtime's weights.
func TestRT72WhatChooses(t *testing.T) {
	harness.NoLeaks(t)
	clusters, _ := namedClusters(t, "a", "b", "c")
	p := harness.Start(t, harness.Topology{Clusters: clusters, Routes: `
- match: { prefix: /header }
  route: { weighted_clusters: { header_name: X-Number, clusters: [{ name: a, weight: 2 }, { name: b, weight: 3 }, { name: c, weight: 0 }] } }
- match: { prefix: /hash }
  route:
    hash_policy: [{ header: { header_name: x-key } }]
    weighted_clusters: { use_hash_policy: true, clusters: [{ name: a, weight: 1 }, { name: b, weight: 1 }] }
- match: { prefix: /live }
  route: { weighted_clusters: { runtime_key_prefix: w, clusters: [{ name: a, weight: 1 }, { name: b, weight: 0 }] } }
- match: { prefix: /named }
  route: { weighted_clusters: { clusters: [{ cluster_header: x-to, weight: 1 }] }, cluster_not_found_response_code: NOT_FOUND }
`})
	for number, want := range map[string]string{"0": "a", "1": "a", "2": "b", "4": "b", "5": "a", "18446744073709551615": "a"} {
		wantRouted(t, p, "/header", want, "x-number: "+number) // 2^64-1 is 0 of 5
	}
	for _, bad := range [][]string{{"x-number: 2", "x-number: 2"}, {"x-number: -1"}, {"x-number: 18446744073709551616"}, nil} {
		got := shares(t, p, 200, func(int) string { return getOf("/header", bad...) })
		if got["a"] == 0 || got["b"] == 0 || got["c"] != 0 { // (3/5)^200
			t.Errorf("%q is no number, so chance decides: %v", bad, got)
		}
	}
	for i := range 20 {
		key := strconv.Itoa(i)
		want := "a"
		if xxhash.Sum64String(key)%2 == 1 { // RT-113
			want = "b"
		}
		wantRouted(t, p, "/hash", want, "x-key: "+key)
	}
	if got := shares(t, p, 200, func(int) string { return getOf("/hash") }); got["a"] == 0 || got["b"] == 0 {
		t.Errorf("without a hash chance decides: %v", got)
	}
	wantRouted(t, p, "/live", "a")
	if err := p.Server.Runtime().Modify(map[string]string{"w.a": "0", "w.b": "5"}); err != nil {
		t.Fatal(err)
	}
	wantRouted(t, p, "/live", "b")
	wantRouted(t, p, "/named", "c", "X-To: c")
	wantRouted(t, p, "/named", "-", "X-To: nowhere")
	wantRouted(t, p, "/named", "-")
}

// RT-74, RT-75: what comes with the chosen entry, and with no other.
func TestRT74WeightedEntries(t *testing.T) {
	harness.NoLeaks(t)
	entries := `{ header_name: x-n, clusters: [
      { name: a, weight: 1, host_rewrite_literal: entry.test, request_headers_to_add: [{ header: { key: x-entry, value: "%REQ(x-in)%-%ROUTE_NAME%" } }, { header: { key: x-level, value: entry } }], request_headers_to_remove: [x-in], response_headers_to_add: [{ header: { key: x-entry, value: a } }] },
      { name: b, weight: 1 }] }`
	for _, row := range []struct{ wins, levels string }{
		{"false", "client|entry|route|vhost|config"},
		{"true", "client|entry|config|vhost|route"},
	} {
		clusters, origins := namedClusters(t, "a", "b")
		p := harness.StartConf(t, harness.Load(t, strings.Replace((&harness.Topology{Clusters: clusters, VirtualHosts: `
- name: all
  domains: ["*"]
  request_headers_to_add: [{ header: { key: x-level, value: vhost } }]
  routes:
  - match: { prefix: /plain }
    name: r
    request_headers_to_add: [{ header: { key: x-level, value: route } }]
    route: { weighted_clusters: ` + entries + ` }
  - match: { prefix: /host }
    route: { weighted_clusters: ` + entries + `, host_rewrite_literal: route.test }
`}).YAML(t.TempDir()+"/log"), "            name: local\n", "            name: local\n            most_specific_header_mutations_wins: "+row.wins+
			"\n            request_headers_to_add: [{ header: { key: x-level, value: config } }]\n", 1)), 1, "", origins["a"], origins["b"])
		m := ask(t, p, "h", "/plain", "x-n: 0", "x-in: 1", "x-level: client")
		up := origins["a"].Last(t)
		if up.Get("x-entry") != "1-r" || up.Get("x-in") != "-" || up.Get("host") != "entry.test" || up.Get("x-envoy-original-host") != "h" || m.Get("x-entry") != "a" {
			t.Errorf("%s%s", up.Head(), m.Head())
		}
		if got := up.Get("x-level"); got != row.levels { // RT-69c
			t.Errorf("levels %s, want %s", got, row.levels)
		}
		m = ask(t, p, "h", "/plain", "x-n: 1", "x-in: 1")
		if up := origins["b"].Last(t); up.Get("x-entry") != "-" || up.Get("x-in") != "1" || up.Get("host") != "h" || m.Get("x-entry") != "-" {
			t.Errorf("%s%s", up.Head(), m.Head())
		}
		ask(t, p, "h", "/host", "x-n: 0")
		if up := origins["a"].Last(t); up.Get("host") != "route.test" || up.Get("x-envoy-original-host") != "h" {
			t.Errorf("%s", up.Head())
		}
	}
}

// RT-80, RT-74: metadata_match of the route, the entry over it, and the connection's over both.
func TestRT80MetadataMatch(t *testing.T) {
	harness.NoLeaks(t)
	var origins []harness.Origin
	for _, name := range []string{"v1", "v2", "v3"} {
		origins = append(origins, harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply(name) }))
	}
	cluster := harness.Cluster{
		Name: "a", Origins: origins, Labels: []string{"{ version: v1 }", "{ version: v2 }", "{ version: v3 }"},
		Fields: "lb_subset_config: { fallback_policy: NO_FALLBACK, subset_selectors: [{ keys: [version] }] }",
	}
	match := func(v string) string {
		return "metadata_match: { filter_metadata: { envoy.lb: { version: " + v + " } } }"
	}
	p := harness.Start(t, harness.Topology{
		Clusters: []harness.Cluster{cluster},
		Listener: `listener_filters:
- name: p
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
    allow_requests_without_proxy_protocol: true
    rules: [{ tlv_type: 0xe0, on_tlv_present: { metadata_namespace: envoy.lb, key: version } }]`,
		Routes: "- { match: { prefix: /route }, route: { cluster: a, " + match("v1") + " } }\n" +
			"- { match: { prefix: /entry }, route: { " + match("v1") + ", weighted_clusters: { clusters: [{ name: a, weight: 1, " + match("v2") + " }] } } }\n" +
			"- { match: { prefix: /none }, route: { cluster: a } }\n",
	})
	for _, row := range []struct{ path, tlv, want string }{
		{"/route", "", "v1"}, {"/entry", "", "v2"}, {"/none", "v3", "v3"}, {"/route", "v3", "v3"}, {"/entry", "v3", "v3"},
	} {
		w := harness.DialWire(t, "tcp", p.Addr)
		if row.tlv != "" {
			tlv := "\xe0\x00" + string(rune(len(row.tlv))) + row.tlv
			w.Send("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00" + string(rune(12+len(tlv))) + "\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x0b\x00\x16" + tlv)
		}
		for range 4 {
			if m := w.Do(getOf(row.path)); string(m.Body) != row.want {
				t.Errorf("%s %s: %s %q, want %q", row.path, row.tlv, m.Start, m.Body, row.want)
			}
		}
		w.Close()
	}
	if m := ask(t, p, "h", "/none"); m.Status() != 503 {
		t.Errorf("no criteria and no fallback: %s", m.Start)
	}
}

// RT-110 to RT-113: each input of a hash chooses a host of a ring, the same one every time.
func TestRT110HashPolicies(t *testing.T) {
	harness.NoLeaks(t)
	var origins []harness.Origin
	for i := range 8 {
		origins = append(origins, harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply(strconv.Itoa(i)) }))
	}
	route := func(path, policy string) string {
		return "- { match: { prefix: " + path + " }, route: { cluster: ring, hash_policy: [" + policy + "] } }\n"
	}
	p := harness.Start(t, harness.Topology{
		Clusters: []harness.Cluster{{Name: "ring", Origins: origins, Fields: "lb_policy: RING_HASH"}},
		Routes: route("/header", "{ header: { header_name: X-Key } }") + route("/query", "{ query_parameter: { name: k } }") +
			route("/ip", "{ connection_properties: { source_ip: true } }") + route("/cookie", "{ cookie: { name: c } }") +
			route("/made", `{ cookie: { name: made, ttl: 60s, path: /p, attributes: [{ name: SameSite, value: Strict }] } }`) +
			route("/session", `{ cookie: { name: s, ttl: 0s } }`) +
			route("/regex", `{ header: { header_name: x-key, regex_rewrite: { pattern: { regex: "^(.).*" }, substitution: "\\1" } } }`) +
			route("/terminal", "{ header: { header_name: x-first }, terminal: true }, { header: { header_name: x-key } }"),
	})
	one := func(path string, fields ...string) string {
		t.Helper()
		got := shares(t, p, 12, func(int) string { return getOf(path, fields...) })
		if len(got) != 1 {
			t.Errorf("%s %q went to %v", path, fields, got)
		}
		for name := range got {
			return name
		}
		return ""
	}
	spread := map[string]bool{}
	for i := range 40 {
		key := fmt.Sprint("key", i)
		h := one("/header", "x-key: "+key)
		spread[h] = true
		for what, got := range map[string]string{
			"query": one("/query?a=b&k=" + key), "cookie": one("/cookie", "Cookie: a=b; c="+key), "terminal": one("/terminal", "x-first: "+key, fmt.Sprint("x-key: ", i)),
			"terminal without its header": one("/terminal", "x-key: "+key),
		} {
			if got != h {
				t.Errorf("%s of %s goes to %s, the header to %s", what, key, got, h) // one text, one hash
			}
		}
	}
	if len(spread) < 4 {
		t.Errorf("40 keys went to %d of 8 hosts", len(spread))
	}
	if a, b := one("/header", "x-key: 1", "x-key: 2"), one("/header", "x-key: 2", "x-key: 1"); a != b {
		t.Errorf("the order of values matters: %s and %s", a, b)
	}
	if a, b := one("/regex", "x-key: q1"), one("/regex", "x-key: q2"); a != b {
		t.Errorf("the rewrite makes both q: %s and %s", a, b)
	}
	one("/ip")
	if got := shares(t, p, 60, func(int) string { return getOf("/header") }); len(got) < 2 { // RT-111: 8 to the power of -59
		t.Errorf("no hash, no choice by chance: %v", got)
	}
	testGeneratedCookie(t, p)
}

// testGeneratedCookie: RT-112.
func testGeneratedCookie(t *testing.T, p *harness.Proxy) {
	w := harness.DialWire(t, "tcp", p.Addr)
	first := w.Do(getOf("/made"))
	set := first.Get("set-cookie")
	value, rest, _ := strings.Cut(strings.TrimPrefix(set, `made="`), `"`)
	if rest != "; Max-Age=60; Path=/p; SameSite=Strict; HttpOnly" || len(value) != 16 || strings.Trim(value, "0123456789abcdef") != "" {
		t.Fatalf("set-cookie: %s", set)
	}
	local, remote := w.Conn.RemoteAddr().String(), w.Conn.LocalAddr().String()
	if want := fmt.Sprintf("%016x", xxhash.Sum64String(remote+local)); value != want {
		t.Errorf("cookie %s of %s and %s, want %s", value, remote, local, want)
	}
	if again := w.Do(getOf("/made")); again.Get("set-cookie") != set || string(again.Body) != string(first.Body) {
		t.Errorf("another request of the connection: %s to %s, first to %s", again.Get("set-cookie"), again.Body, first.Body)
	}
	with := ask(t, p, "h", "/made", `Cookie: made="`+value+`"`)
	if with.Get("set-cookie") != "-" || string(with.Body) != string(first.Body) {
		t.Errorf("with the cookie: %s to %s, want %s", with.Get("set-cookie"), with.Body, first.Body)
	}
	if s := w.Do(getOf("/session")).Get("set-cookie"); !strings.HasSuffix(s, `"; HttpOnly`) {
		t.Errorf("a session cookie: %s", s)
	}
	w.Close()
}

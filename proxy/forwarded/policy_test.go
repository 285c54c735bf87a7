package forwarded

import (
	"math/rand/v2"
	"regexp"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// TestStrippingTable is the matrix of routing.md 12: which headers survive from whom.
func TestStrippingTable(t *testing.T) {
	const kept, gone = "theirs", "-"
	type row struct{ internal, edge, inside string }
	table := map[string]row{
		"x-envoy-internal":         {"true", gone, gone},
		"x-envoy-external-address": {kept, "192.0.2.1", kept},
		"x-secret":                 {kept, gone, gone}, // RT-90: internal_only_headers
		"x-other":                  {kept, kept, kept},
	}
	for _, name := range []string{
		"x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-original-path", "x-envoy-original-host",
	} {
		table[name] = row{kept, gone, kept}
	}
	for _, name := range []string{
		"x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-retriable-status-codes", "x-envoy-retriable-header-names",
		"x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response",
		"x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace", "x-envoy-ip-tags", "x-envoy-original-url", "x-envoy-hedge-on-per-try-timeout",
	} {
		table[name] = row{kept, gone, gone}
	}
	base := func(c *conf.HTTPConnectionManager) {
		tens(c)
	}
	edge := func(c *conf.HTTPConnectionManager) { base(c); c.UseRemoteAddress = true }
	for name, want := range table {
		for _, kind := range []struct {
			name string
			set  func(c *conf.HTTPConnectionManager)
			peer string
			want string
		}{
			{"internal", edge, "10.0.0.1", want.internal},
			{"external edge", edge, "192.0.2.1", want.edge},
			{"external, not edge", base, "192.0.2.1", want.inside},
		} {
			h := request(t, "/", name+": theirs")
			policy(kind.set).Request(h, facts(kind.peer))
			if got := fields(h, name); got != kind.want {
				t.Errorf("%s from %s: %q, want %q", name, kind.name, got, kind.want)
			}
		}
	}
}

func TestRT95RetryOnIsStrippedByDefault(t *testing.T) {
	h := request(t, "/", "x-envoy-retry-on: 5xx")
	policy(defaults).Request(h, facts("10.0.0.1"))
	if got := fields(h, "x-envoy-retry-on"); got != "-" {
		t.Errorf("a stranger's retry-on survived: %s", got)
	}
	h = request(t, "/", "x-envoy-retry-on: 5xx", "x-forwarded-for: 10.0.0.2")
	policy(tens).Request(h, facts("10.0.0.1"))
	if got := fields(h, "x-envoy-retry-on"); got != "5xx" {
		t.Errorf("an internal retry-on was stripped: %s", got)
	}
}

func TestForwardedProtoAndScheme(t *testing.T) {
	hops := func(c *conf.HTTPConnectionManager) { c.UseRemoteAddress, c.XFFNumTrustedHops = true, 1 }
	overwrite := func(c *conf.HTTPConnectionManager) { c.SchemeToOverwrite = "https" }
	for _, row := range []struct {
		rule           string
		set            func(c *conf.HTTPConnectionManager)
		tls            bool
		scheme         string // before; empty for an origin-form HTTP/1 request
		fields         []string
		proto, scheme2 string
	}{
		{"RT-96 remote: overwritten, plain", useRemote, false, "", []string{"x-forwarded-proto: https"}, "http", "http"},
		{"RT-96 remote: overwritten, TLS", useRemote, true, "", []string{"x-forwarded-proto: http"}, "https", "https"},
		{"RT-96 remote: repeated fields become one", useRemote, false, "", []string{"x-forwarded-proto: https", "x-forwarded-proto: https"}, "http", "http"},
		{"RT-96 remote, hops: kept", hops, false, "", []string{"x-forwarded-proto: https"}, "https", "https"},
		{"RT-96 remote, hops: set when absent", hops, false, "", nil, "http", "http"},
		{"RT-96 not remote: kept", defaults, false, "", []string{"x-forwarded-proto: https"}, "https", "https"},
		{"RT-96 not remote: set when absent", defaults, true, "", nil, "https", "https"},
		{"RT-96 scheme_to_overwrite", overwrite, false, "http", []string{"x-forwarded-proto: http"}, "https", "https"},
		{"RT-98 an absolute-form scheme stays", useRemote, true, "http", nil, "https", "http"},
		{"RT-98 lower-cased", useRemote, false, "HTTP", nil, "http", "http"},
		{"RT-98 another scheme is lower-cased", useRemote, false, "Ftp", nil, "http", "ftp"},
		{"RT-98 x-forwarded-proto in upper case is valid", defaults, false, "", []string{"x-forwarded-proto: HTTPS"}, "HTTPS", "https"},
		{"RT-98 an invalid x-forwarded-proto does not count, plain", defaults, false, "", []string{"x-forwarded-proto: gopher"}, "gopher", "http"},
		{"RT-98 an invalid x-forwarded-proto does not count, TLS", defaults, true, "", []string{"x-forwarded-proto: gopher"}, "gopher", "https"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			h := request(t, "/", row.fields...)
			if row.scheme != "" {
				h.SetScheme(row.scheme)
			}
			in := facts("192.0.2.1")
			in.TLS = row.tls
			policy(row.set).Request(h, in)
			if got := fields(h, "x-forwarded-proto"); got != row.proto {
				t.Errorf("x-forwarded-proto %s, want %s", got, row.proto)
			}
			if got := h.Text(h.Scheme); got != row.scheme2 {
				t.Errorf("scheme %s, want %s", got, row.scheme2)
			}
		})
	}
}

func TestRT97ForwardedPort(t *testing.T) {
	for _, row := range []struct {
		name       string
		on, remote bool
		hops       int
		fields     []string
		want       string
	}{
		{"off", false, true, 0, nil, "-"},
		{"off: theirs stays", false, true, 0, []string{"x-forwarded-port: 1"}, "1"},
		{"remote: overwritten", true, true, 0, []string{"x-forwarded-port: 1"}, "8080"},
		{"remote, hops: kept", true, true, 1, []string{"x-forwarded-port: 1"}, "1"},
		{"remote, hops: set", true, true, 1, nil, "8080"},
		{"not remote: kept", true, false, 0, []string{"x-forwarded-port: 1"}, "1"},
		{"not remote: set", true, false, 0, nil, "8080"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := request(t, "/", row.fields...)
			policy(func(c *conf.HTTPConnectionManager) {
				c.AppendXForwardedPort, c.UseRemoteAddress, c.XFFNumTrustedHops = row.on, row.remote, row.hops
			}).Request(h, facts("192.0.2.1"))
			if got := fields(h, "x-forwarded-port"); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestRT99Via(t *testing.T) {
	p := policy(func(c *conf.HTTPConnectionManager) { c.Via = "1.1 sluice" })
	for _, row := range []struct {
		fields []string
		want   string
	}{
		{nil, "1.1 sluice"}, {[]string{"via: 1.0 a"}, "1.0 a, 1.1 sluice"}, {[]string{"via: 1.0 a", "via: 1.0 b"}, "1.0 a|1.0 b|1.1 sluice"},
	} {
		h := request(t, "/", row.fields...)
		p.Request(h, facts("192.0.2.1"))
		if got := fields(h, "via"); got != row.want {
			t.Errorf("%v: got %s, want %s", row.fields, got, row.want)
		}
	}
	h := request(t, "/", "via: 1.0 a")
	policy(defaults).Request(h, facts("192.0.2.1"))
	if got := fields(h, "via"); got != "1.0 a" {
		t.Errorf("touched though not configured: %s", got)
	}
}

func TestRT100AddUserAgent(t *testing.T) {
	for _, row := range []struct {
		name                   string
		on                     bool
		node                   conf.Node
		fields                 []string
		agent, cluster, nodeID string
	}{
		{"off", false, conf.Node{ID: "n", Cluster: "c"}, nil, "-", "-", "-"},
		{"missing", true, conf.Node{ID: "n", Cluster: "c"}, nil, "c", "c", "n"},
		{"empty", true, conf.Node{ID: "n", Cluster: "c"}, []string{"user-agent:"}, "c", "c", "n"},
		{"there", true, conf.Node{ID: "n", Cluster: "c"}, []string{"user-agent: curl"}, "curl", "c", "n"},
		{"theirs is replaced", true, conf.Node{ID: "n", Cluster: "c"}, []string{"x-envoy-downstream-service-cluster: x", "x-envoy-downstream-service-node: y"}, "c", "c", "n"},
		{"a process without names", true, conf.Node{}, nil, "-", "-", "-"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := conf.NewHTTPConnectionManager("x")
			c.AddUserAgent = row.on
			h := request(t, "/", row.fields...)
			Compile(c, row.node).Request(h, facts("192.0.2.1"))
			for name, want := range map[string]string{"user-agent": row.agent, "x-envoy-downstream-service-cluster": row.cluster, "x-envoy-downstream-service-node": row.nodeID} {
				if got := fields(h, name); got != want {
					t.Errorf("%s: got %s, want %s", name, got, want)
				}
			}
		})
	}
}

func TestRT101Referer(t *testing.T) {
	for _, row := range []struct {
		value string
		keep  bool
	}{
		{"http://a.example/p?q=1", true}, {"https://a.example:8443", true}, {"/relative?q", true}, {"relative/path", true}, {"?q", true},
		{"http://[::1]:80/", true}, {"about:blank", true}, {"http://a.example/p?a[]=1|2", true}, {"//other.example/p", true}, {"/path:with/colon", true},
		{"/p?a=b@c", true}, {"http://a.example/@user", true},
		{"", false}, {"http://a.example/#top", false}, {"/p#f", false}, {"http://user@a.example/", false}, {"http://user:pw@a.example/", false}, {"//user@a.example/", false},
		{"http://", false}, {"http:///p", false}, {"http:", false}, {":x", false}, {"1a:x", false}, {"a b", false}, {"/p\"", false}, {"/<", false}, {"/\xc3\xa4", false},
		{`http://a.example\@b/`, true}, {`http://a\p?user@b`, true},
	} {
		h := request(t, "/", "referer: "+row.value)
		policy(defaults).Request(h, facts("192.0.2.1"))
		if got := fields(h, "referer") != "-"; got != row.keep {
			t.Errorf("%q: kept %v", row.value, got)
		}
	}
	h := request(t, "/", "referer: /a", "referer: /a")
	policy(defaults).Request(h, facts("192.0.2.1"))
	if got := fields(h, "referer"); got != "-" {
		t.Errorf("two values: %s", got)
	}
}

func TestRT102InternalIsNeverBelieved(t *testing.T) {
	h := request(t, "/", "x-envoy-internal: true", "X-Envoy-Internal: true")
	if d := policy(tens).Request(h, facts("192.0.2.1")); d.Internal || fields(h, "x-envoy-internal") != "-" {
		t.Errorf("%+v, x-envoy-internal %s", d, fields(h, "x-envoy-internal"))
	}
	h = request(t, "/", "x-envoy-internal: false")
	policy(func(c *conf.HTTPConnectionManager) { tens(c); useRemote(c) }).Request(h, facts("10.0.0.1"))
	if got := fields(h, "x-envoy-internal"); got != "true" {
		t.Errorf("internal request: %s", got)
	}
}

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestRT104RequestID(t *testing.T) {
	const sampled, plain = "aaaaaaaa-bbbb-9ccc-8ddd-eeeeeeeeeeee", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	const fresh = "a new one"
	preserve := func(c *conf.HTTPConnectionManager) { c.UseRemoteAddress, c.PreserveExternalRequestID = true, true }
	for _, row := range []struct {
		name   string
		set    func(c *conf.HTTPConnectionManager)
		peer   string
		fields []string
		want   string
	}{
		{"absent", defaults, "192.0.2.1", nil, fresh},
		{"external, not edge: kept", defaults, "192.0.2.1", []string{"x-request-id: theirs"}, "theirs"},
		{"external edge: replaced", useRemote, "192.0.2.1", []string{"x-request-id: theirs"}, fresh},
		{"external edge, repeated: one new", useRemote, "192.0.2.1", []string{"x-request-id: theirs", "x-request-id: b"}, fresh},
		{"external edge, preserved", preserve, "192.0.2.1", []string{"x-request-id: theirs"}, "theirs"},
		{"external edge, preserved: absent", preserve, "192.0.2.1", nil, fresh},
		{"external edge, preserved: the trace mark is not the client's to set", preserve, "192.0.2.1", []string{"x-request-id: " + sampled}, plain},
		{"external edge, preserved, pack_trace_reason off", func(c *conf.HTTPConnectionManager) { preserve(c); c.PackTraceReason = false }, "192.0.2.1", []string{"x-request-id: " + sampled}, sampled},
		{"internal: kept", func(c *conf.HTTPConnectionManager) { useRemote(c); tens(c) }, "10.0.0.1", []string{"x-request-id: " + sampled}, sampled},
		{"internal: created", func(c *conf.HTTPConnectionManager) { useRemote(c); tens(c) }, "10.0.0.1", nil, fresh},
		{"generate_request_id off", func(c *conf.HTTPConnectionManager) { useRemote(c); c.GenerateRequestID = false }, "192.0.2.1", nil, "-"},
		{"generate_request_id off: theirs stays", func(c *conf.HTTPConnectionManager) { useRemote(c); c.GenerateRequestID = false }, "192.0.2.1", []string{"x-request-id: theirs"}, "theirs"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := request(t, "/", row.fields...)
			policy(row.set).Request(h, facts(row.peer))
			got := fields(h, "x-request-id")
			if row.want == fresh {
				if !uuid4.MatchString(got) {
					t.Errorf("%q is no version 4 UUID", got)
				}
			} else if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestRT104RequestIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	p := policy(defaults)
	for _, r := range []*rand.Rand{NewRandom(), NewRandom()} {
		for range 2000 {
			h := request(t, "/")
			in := facts("192.0.2.1")
			in.Random = r
			p.Request(h, in)
			seen[fields(h, "x-request-id")] = true
		}
	}
	if len(seen) != 4000 {
		t.Errorf("%d different ids of 4000", len(seen))
	}
}

func TestRT104UUIDLayout(t *testing.T) {
	var b [uuidLen]byte
	putUUID(&b, rand.New(fixed(0xffffffffffffffff)))
	if got := string(b[:]); got != "ffffffff-ffff-4fff-bfff-ffffffffffff" {
		t.Errorf("all ones: %s", got)
	}
	putUUID(&b, rand.New(fixed(0x0706050403020100)))
	if got := string(b[:]); got != "00010203-0405-4607-8001-020304050607" {
		t.Errorf("counting bytes: %s", got)
	}
}

// fixed is a source that repeats one number.
type fixed uint64

func (f fixed) Uint64() uint64 { return uint64(f) }

func TestValidatesScheme(t *testing.T) {
	// RT-120: only where the peer is the client itself.
	for _, row := range []struct {
		remote bool
		hops   int
		want   bool
	}{{true, 0, true}, {true, 1, false}, {false, 0, false}} {
		p := policy(func(c *conf.HTTPConnectionManager) { c.UseRemoteAddress, c.XFFNumTrustedHops = row.remote, row.hops })
		if p.ValidatesScheme() != row.want {
			t.Errorf("%+v: got %v", row, !row.want)
		}
	}
}

func TestResponse(t *testing.T) {
	server := func(m conf.ServerHeaderTransformation) func(*conf.HTTPConnectionManager) {
		return func(c *conf.HTTPConnectionManager) { c.ServerName, c.ServerHeaderTransformation = "mine", m }
	}
	always := func(c *conf.HTTPConnectionManager) { c.AlwaysSetRequestIDInResp = true }
	for _, row := range []struct {
		rule           string
		set            func(c *conf.HTTPConnectionManager)
		in, name, want string // a field there before; the field looked at
	}{
		{"RT-99 server by default", defaults, "", "server", "envoy"},
		{"RT-99 OVERWRITE", server(conf.ServerOverwrite), "server", "server", "mine"},
		{"RT-99 APPEND_IF_ABSENT, there", server(conf.ServerAppendIfAbsent), "server", "server", "theirs"},
		{"RT-99 APPEND_IF_ABSENT, absent", server(conf.ServerAppendIfAbsent), "", "server", "mine"},
		{"RT-99 PASS_THROUGH, there", server(conf.ServerPassThrough), "server", "server", "theirs"},
		{"RT-99 PASS_THROUGH, absent", server(conf.ServerPassThrough), "", "server", "-"},
		{"RT-99 date is added", defaults, "", "date", "now"},
		{"RT-99 an upstream's date stays", defaults, "date", "date", "theirs"},
		{"RT-99 via", func(c *conf.HTTPConnectionManager) { c.Via = "v" }, "via", "via", "theirs, v"},
		{"RT-99 no via by default", defaults, "", "via", "-"},
		{"RT-104 no id in the response by default", defaults, "", "x-request-id", "-"},
		{"RT-104 always_set_request_id_in_response", always, "x-request-id", "x-request-id", "the-id"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			var h header.Head
			h.Reset(nil)
			if row.in != "" {
				h.AddString(header.Lookup([]byte(row.in)), row.in, "theirs")
			}
			policy(row.set).Response(&h, &ResponseFacts{Request: request(t, "/", "x-request-id: the-id"), Date: []byte("now")})
			if got := fields(&h, row.name); got != row.want {
				t.Errorf("%s: got %s, want %s", row.name, got, row.want)
			}
		})
	}
	var h header.Head
	h.Reset(nil)
	policy(always).Response(&h, &ResponseFacts{Date: []byte("now")}) // no request could be read
	if got := fields(&h, "x-request-id"); got != "-" {
		t.Errorf("an id without request: %s", got)
	}
}

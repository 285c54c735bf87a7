package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// ending makes a request end for one reason of the table. The client sends send and reads what comes;
// the access log must then tell the reason's status, flag and details.
type ending struct {
	serve   func(c *harness.Peer)
	origin  func(t testing.TB) harness.Origin
	none    bool // the cluster has no endpoint
	manager string
	cluster string
	routes  string
	action  string
	drain   bool // the listener is removed while the request waits
	vanish  bool // the client leaves once the origin has the request

	send   string
	status uint16 // where the table has none
}

const plainGet = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"

// endings has a way to every reason that can end a request over HTTP/1.
var endings = map[reason.Reason]ending{
	reason.ViaUpstream:    {serve: (*harness.Peer).Well, send: plainGet, status: 200},
	reason.DirectResponse: {routes: "- match: { prefix: / }\n  direct_response: { status: 418, body: { inline_string: tea } }", send: plainGet, status: 418},
	reason.Redirect:       {routes: "- match: { prefix: / }\n  redirect: { path_redirect: /x }", send: plainGet, status: 301},
	reason.NoRoute:        {routes: "- match: { prefix: /only }\n  route: { cluster: origin }", send: plainGet},
	reason.NoCluster:      {routes: "- match: { prefix: / }\n  route: { cluster_header: x-to }", send: "GET / HTTP/1.1\r\nHost: test\r\nX-To: nowhere\r\n\r\n"},
	reason.NoHealthyHost:  {none: true, send: plainGet},

	reason.ConnectFailure:      {origin: harness.Refusing, send: plainGet},
	reason.ConnectTimeout:      {origin: harness.BlackHole, cluster: "connect_timeout: 0.05s", send: plainGet},
	reason.UpstreamTermination: {serve: headThen("", closes), send: plainGet},
	reason.UpstreamProtocol:    {serve: headThen("???\r\n\r\n", stalls), send: plainGet},
	reason.UpstreamHeadTooLarge: {
		serve: headThen(okHead+"X: "+strings.Repeat("x", 4096)+"\r\n\r\n", stalls), cluster: harness.ProtocolOptions("{ max_response_headers_kb: 1 }"), send: plainGet,
	},
	reason.UpstreamTooManyFields: {
		serve: headThen(okHead+"A: 1\r\nB: 2\r\n\r\n", stalls), cluster: harness.ProtocolOptions("{ max_headers_count: 1 }"), send: plainGet,
	},
	reason.ResponseTimeout:       {serve: stalls, action: "timeout: 0.05s", send: plainGet},
	reason.ResetAfterStart:       {serve: headThen(partAnswer, closes), send: plainGet, status: 200},
	reason.StreamIdle:            {serve: stalls, manager: "stream_idle_timeout: 0.05s", send: plainGet},
	reason.RequestTimeout:        {serve: stalls, manager: "request_timeout: 0.05s", send: postPart},
	reason.RequestHeadersTimeout: {manager: "request_headers_timeout: 0.05s", send: "GET"},
	reason.MaxStreamDuration:     {serve: stalls, manager: "common_http_protocol_options: { max_stream_duration: 0.05s }", send: plainGet},
	reason.PerTryTimeout:         {serve: stalls, action: "retry_policy: { per_try_timeout: 0.05s }", send: plainGet},
	reason.PerTryIdleTimeout:     {serve: stalls, action: "retry_policy: { per_try_idle_timeout: 0.05s }", send: plainGet},
	reason.UpstreamMaxDuration:   {serve: stalls, cluster: harness.ProtocolOptions("{ max_stream_duration: 0.05s }"), send: plainGet},
	reason.DownstreamClosed:      {serve: stalls, vanish: true, send: plainGet},
	reason.DownstreamProtocol:    {send: "GET / HTTP/1.1\r\nHost: test\r\nbad name: x\r\n\r\n"},
	reason.MissingHost:           {manager: "http_protocol_options: { accept_http_10: true }", send: "GET / HTTP/1.0\r\n\r\n"},
	reason.AbsolutePath:          {send: "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n"},
	reason.PathNormalization:     {manager: "path_with_escaped_slashes_action: REJECT_REQUEST", send: "GET /a%2Fb HTTP/1.1\r\nHost: test\r\n\r\n"},
	reason.PathRedirect:          {manager: "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT", send: "GET /a%2Fb HTTP/1.1\r\nHost: test\r\n\r\n"},
	reason.HTTPSOnPlaintext:      {manager: "use_remote_address: true", send: "GET https://test/ HTTP/1.1\r\nHost: test\r\n\r\n"},
	reason.UpgradeRefused:        {send: "CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n"},
	reason.LowVersion:            {send: "GET / HTTP/1.0\r\n\r\n"},
	reason.HeadTooLarge:          {manager: "max_request_headers_kb: 1", send: "GET / HTTP/1.1\r\nHost: test\r\nX: " + strings.Repeat("x", 2000) + "\r\n\r\n"},
	reason.TooManyFields:         {manager: "common_http_protocol_options: { max_headers_count: 1 }", send: "GET / HTTP/1.1\r\nHost: test\r\nX: x\r\n\r\n"},
	reason.BadTransferEncoding:   {send: "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n"},
	reason.Stopped:               {serve: stalls, drain: true, send: plainGet},
}

// elsewhere lists reasons that another test of this package produces.
var elsewhere = map[reason.Reason]string{
	reason.Overflow:            "TestMaxRequestsOverflow: a breaker that is open for ever would never be at rest",
	reason.LocalConnectFailure: "TestDescriptorLimit: needs a process without descriptors",
	reason.UpstreamRefused:     "TestHTTP2UpstreamEndings: only an HTTP/2 origin can say so",
	reason.UpstreamReset:       "TestHTTP2UpstreamEndings: an HTTP/1 origin cannot reset a stream, only its connection (upstream_termination)",
	reason.UpgradeBody:         "TestUP17Bodies: needs two proxies",
	reason.EarlyConnectData:    "TestUP41EarlyData: needs a CONNECT",
	reason.UpstreamNoUpgrade:   "TestUP12AllowConnect: only an HTTP/2 origin can be without it",
	reason.TunnelRefused:       "TestTCP41RefusedTunnel: needs a proxy in front",
	reason.RetryBufferOverflow: "TestROUTER62ABodyThatIsTooLargeForRetries: needs a request that goes on between two tries",
	reason.InvalidEnvoyHeader:  "TestStrictCheckHeaders: its details name the header",
	reason.MaintenanceMode:     "TestMaintenanceMode: needs a runtime key",
	reason.OverloadDropped:     "TestDropOverloadsKeepsAShareFromTheCluster: a matter of chance",
	reason.AllOverloadDropped:  "TestDropOverloadsOfEverything: needs a policy of the load assignment",
	reason.DNSFailure:          "TestForwardProxyGoesToTheAuthority: needs a cluster that resolves names",
	reason.DNSCacheFull:        "TestForwardProxyBounds: needs another request that waits",
	reason.DNSTooManyPending:   "TestForwardProxyBounds: needs others that wait",
	reason.EmptyHost:           "TestForwardProxyRewritesAndSaves: needs a route that takes the host away",
	reason.FilterReply:         "TestFiltersMayReplyAtAnyEvent: needs a filter of an embedder",
	reason.RequestTooLarge:     "TestBufferFilterAnswers413AndSendsLengths: needs the filter",
	reason.ResponseTooLarge:    "TestResponsesThatFiltersKeepAreBounded: needs a filter that keeps responses",
	reason.FaultAborted:        "TestFaultFilterAborts: needs the filter",
	reason.LocalRateLimited:    "TestLocalRateLimitFilter: needs the filter",
	reason.HTTPRBACDenied:      "TestHTTPRBACFilter: needs the filter",
	reason.CORSAnswered:        "TestCORSFilter: needs the filter",
	reason.HealthCheckAnswered: "TestCL43HealthCheckFilter: needs the filter",
	reason.HealthCheckFailed:   "TestCL43HealthCheckFilter: needs the filter",
	reason.DownstreamReset:     "TestH2Resets: an HTTP/1 client cannot reset a stream, only its connection (downstream_closed)",
}

// unreachable lists reasons that neither an HTTP/1 request nor a TCP session ends with in this version,
// and why.
var unreachable = map[reason.Reason]string{
	reason.None:         "means that the stream has not ended",
	reason.MissingPath:  "an HTTP/1 request target is never empty: only CONNECT has no path, and it is refused before",
	reason.OverloadShed: "there is no overload manager in this version",
}

// Every row of the reason table is the end of a request or a session in some test, or is explained above.
func TestEveryReason(t *testing.T) {
	harness.NoLeaks(t)
	t.Run("reason", func(t *testing.T) {
		for i := range reason.Table {
			r := reason.Reason(i)
			e, ok := endings[r]
			session, isSession := sessionEndings[r]
			ways := 0
			for _, has := range []bool{ok, isSession, elsewhere[r] != "", unreachable[r] != ""} {
				if has {
					ways++
				}
			}
			if ways != 1 {
				t.Errorf("%v: %d of endings, sessionEndings, elsewhere and unreachable know it, want one", r, ways)
			}
			if isSession {
				t.Run(r.String(), func(t *testing.T) {
					t.Parallel()
					session.run(t, r)
				})
			}
			if ok {
				t.Run(r.String(), func(t *testing.T) {
					t.Parallel()
					e.run(t, r)
				})
			}
		}
	})
}

func (e *ending) run(t *testing.T, r reason.Reason) {
	serve := e.serve
	if serve == nil {
		serve = func(*harness.Peer) { t.Error("a connection to the origin") }
	}
	raw := harness.NewRaw(t, serve)
	cl := harness.Cluster{Name: "origin", Fields: e.cluster}
	if e.origin != nil {
		cl.Origins = []harness.Origin{e.origin(t)}
	} else if !e.none {
		cl.Origins = []harness.Origin{raw}
	}
	top := harness.Topology{Clusters: []harness.Cluster{cl}, Manager: e.manager, Routes: e.routes, Action: e.action}
	if e.drain {
		top.DrainTime = 1 // a nanosecond: not 0, which is the default
	}
	p := harness.Start(t, top)
	c := p.Dial().Send(e.send)
	method, _, _ := strings.Cut(e.send, " ")
	switch {
	case e.vanish:
		awaitRead(t, raw, 20)
		c.Close()
	case e.drain:
		awaitRead(t, raw, 20)
		b := harness.Load(t, top.YAML("/dev/null"))
		b.Listeners = nil
		if err := p.Server.Apply(b); err != nil {
			t.Fatal(err)
		}
		_ = c.WantEnd() // no reply with a status that does not exist
	default:
		c.ReadAny(method)
		c.Close()
	}
	entry := r.Entry()
	status := entry.Status
	if e.status != 0 {
		status = e.status
	}
	details := entry.Details + " "
	if r == reason.ConnectFailure {
		details = strings.TrimSuffix(entry.Details, "}") + "," // and why
	}
	p.WantLine(fmt.Sprintf("%d %v %s", status, entry.Flag, details))
}

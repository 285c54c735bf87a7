//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// attemptLine is the format of upstream_log in these tests: the facts of an attempt that do not depend on
// where and when.
const attemptLine = "%ACCESS_LOG_TYPE% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT% %BYTES_RECEIVED%"

// upstreamLogged starts a proxy whose router logs its attempts; the second result reads at least n lines.
func upstreamLogged(t *testing.T, top harness.Topology, format, options string, filter ...string) (*harness.Proxy, func(n int) []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "upstream.log")
	log := fmt.Sprintf(`{ name: f, %s typed_config: { "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: %q, log_format: { text_format_source: { inline_string: %q } } } }`,
		strings.Join(filter, ""), path, format+"\n")
	var origins []harness.Origin
	for _, c := range top.Clusters {
		origins = append(origins, c.Origins...)
	}
	p := startRouter(t, top, "upstream_log: ["+log+"], upstream_log_options: { "+options+" }", origins...)
	return p, func(n int) (lines []string) {
		t.Helper()
		harness.Eventually(t, fmt.Sprintf("%d lines of attempts", n), func() bool {
			p.Server.FlushLogs()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
			return strings.Count(string(b), "\n") >= n
		})
		return lines
	}
}

func wantAttempts(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the attempts are\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

const postHello = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"

// One line for each attempt, with what became of that attempt (router.md 1).
func TestUpstreamLogHasEachAttempt(t *testing.T) {
	refused := "0 UF upstream_reset_before_response_started{remote_connection_failure} 0 0"
	for _, row := range []struct {
		title, action string
		origin        func(t *testing.T) harness.Origin
		more          string // fields of the cluster
		want          []string
	}{
		{
			"one attempt", "", func(t *testing.T) harness.Origin { return inTurn(t, answered(200)) }, "",
			[]string{"UpstreamEnd 1 200 - via_upstream 5 3"},
		},
		{
			"retries", quick("retry_on: 5xx, num_retries: 3"),
			func(t *testing.T) harness.Origin { return inTurn(t, answered(503), answered(500), answered(200)) }, "",
			[]string{"UpstreamEnd 1 503 - via_upstream 5 3", "UpstreamEnd 2 500 - via_upstream 5 3", "UpstreamEnd 3 200 - via_upstream 5 3"},
		},
		{
			"no connection", quick("retry_on: connect-failure, num_retries: 1"), func(t *testing.T) harness.Origin { return harness.Refusing(t) }, "",
			[]string{"UpstreamEnd 1 " + refused, "UpstreamEnd 2 " + refused},
		},
		{
			"the request's timeout", "timeout: 0.05s", func(t *testing.T) harness.Origin { return harness.NewRaw(t, stalls) }, "",
			[]string{"UpstreamEnd 1 0 UT upstream_response_timeout 5 0"},
		},
		{
			"each try's timeout", quick("retry_on: 5xx, num_retries: 1, per_try_timeout: 0.05s"), func(t *testing.T) harness.Origin { return harness.NewRaw(t, stalls) }, "",
			[]string{"UpstreamEnd 1 0 UT upstream_per_try_timeout 5 0", "UpstreamEnd 2 0 UT upstream_per_try_timeout 5 0"},
		},
		{
			"the cluster's time", "", func(t *testing.T) harness.Origin { return harness.NewRaw(t, stalls) }, harness.ProtocolOptions("{ max_stream_duration: 0.05s }"),
			[]string{"UpstreamEnd 1 0 UMSDR upstream_max_stream_duration_reached 5 0"},
		},
		{
			"the origin ends it", "", func(t *testing.T) harness.Origin { return harness.NewRaw(t, headThen("", closes)) }, "",
			[]string{"UpstreamEnd 1 0 UC upstream_reset_before_response_started{connection_termination} 5 0"},
		},
		{
			"in the middle of its response", "", func(t *testing.T) harness.Origin { return harness.NewRaw(t, headThen(partAnswer, closes)) }, "",
			[]string{"UpstreamEnd 1 200 UC upstream_reset_after_response_started{connection_termination} 5 5"},
		},
		{
			"no HTTP", "", func(t *testing.T) harness.Origin { return harness.NewRaw(t, headThen("???\r\n\r\n", stalls)) }, "",
			[]string{"UpstreamEnd 1 0 UPE upstream_reset_before_response_started{protocol_error} 5 0"},
		},
		{
			"an internal redirect", "internal_redirect_policy: {}", func(t *testing.T) harness.Origin {
				return inTurn(t, answered(302, "Location: http://h/b"), answered(200))
			}, "",
			[]string{"UpstreamEnd 1 302 - via_upstream 5 3", "UpstreamEnd 1 200 - via_upstream 5 3"},
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			top := retrying(row.action, row.origin(t))
			top.Clusters[0].Fields = row.more
			p, lines := upstreamLogged(t, top, attemptLine, "")
			w := harness.DialWire(t, "tcp", p.Addr)
			w.Send(postHello)
			if row.title != "in the middle of its response" {
				w.Read()
			}
			got := lines(len(row.want))
			w.Close()
			wantAttempts(t, got, row.want...)
			if n := len(p.AwaitLines(1)); n != 1 {
				t.Errorf("the access log has %d lines, want 1", n)
			}
		})
	}
}

// A hedge's loser has a line too: nobody wanted its response any more.
func TestUpstreamLogOfHedges(t *testing.T) {
	harness.NoLeaks(t)
	second := make(chan bool, 1)
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		c.ReadHead()
		select {
		case second <- true:
			c.Drain()
		default:
			c.Respond("ok")
			c.Drain()
		}
	})
	p, lines := upstreamLogged(t, retrying("hedge_policy: { hedge_on_per_try_timeout: true }\n"+quick("retry_on: 5xx, per_try_timeout: 0.05s"), raw), attemptLine+" %UPSTREAM_WIRE_BYTES_RECEIVED%", "")
	if m := ask(t, p, "h", "/a"); string(m.Body) != "ok" {
		t.Errorf("got %s%s", m.Head(), m.Body)
	}
	wantAttempts(t, lines(2), "UpstreamEnd 1 0 - - 0 0 0", fmt.Sprintf("UpstreamEnd 2 200 - via_upstream 0 2 %d", len(harness.Reply("ok"))))
}

// A client that leaves ends the attempt, for no fault of the origin.
func TestUpstreamLogOfAClientThatLeaves(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, stalls)
	p, lines := upstreamLogged(t, one(raw), attemptLine, "")
	c := p.Dial().Send(plainGet)
	harness.Eventually(t, "the origin has the request", func() bool { return raw.Connections() == 1 && raw.Read(0) > 0 })
	c.Reset()
	wantAttempts(t, lines(1), "UpstreamEnd 1 0 - - 0 0")
}

// Facts are those of the attempt: an earlier one's connection, failure, heads and bytes are not.
func TestUpstreamLogFactsAreTheAttempts(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503, "X-Try: first"), answered(200, "X-Try: second"))
	top := retrying(quick("retry_on: '5xx', num_retries: 1"), o)
	top.VirtualHost = "include_request_attempt_count: true\nresponse_headers_to_add: [{ header: { key: x-ours, value: ours } }]"
	p, lines := upstreamLogged(t, top, "%RESPONSE_CODE% %REQ(X-ENVOY-ATTEMPT-COUNT)% %RESP(X-TRY)% %RESP(X-OURS)% %UPSTREAM_CLUSTER% %UPSTREAM_PROTOCOL% %ROUTE_NAME% "+
		"%UPSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_HEADER_BYTES_RECEIVED%", "")
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Do(postHello)
	w.Close()
	seen := o.Seen()
	first, second := answered(503, "X-Try: first"), answered(200, "X-Try: second")
	wantAttempts(t, lines(2),
		fmt.Sprintf("503 1 first - origin HTTP/1.1 - %d %d %d", seen[0].Wire, len(first), len(first)-3),
		fmt.Sprintf("200 2 second - origin HTTP/1.1 - %d %d %d", seen[1].Wire, len(second), len(second)-3))
}

// Of two hosts one refuses: the line of the attempt that got nowhere has a failure and no local address, the
// other one's has it the other way round.
func TestUpstreamLogAfterAFailedConnection(t *testing.T) {
	harness.NoLeaks(t)
	good := harness.NewRecorder(t, nil)
	bad := harness.Refusing(t)
	top := retrying("retry_policy: { retry_on: connect-failure, num_retries: 1, retry_back_off: { base_interval: 0.001s }, retry_host_predicate: [{ name: previous, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate } }], host_selection_retry_max_attempts: 9 }", good, bad)
	p, lines := upstreamLogged(t, top, "%RESPONSE_CODE% %UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ns)%", "")
	for range 2 { // round robin: one of them begins at the host that refuses
		if m := ask(t, p, "h", "/a"); m.Status() != 200 {
			t.Errorf("got %s", m.Head())
		}
	}
	failed, served := 0, 0
	for _, line := range lines(3) {
		switch {
		case regexp.MustCompile(`^0 ` + regexp.QuoteMeta(bad.Address()) + ` - [^ -][^ ]* -$`).MatchString(line):
			failed++
		case regexp.MustCompile(`^200 ` + regexp.QuoteMeta(good.Address()) + ` 127\.0\.0\.1:\d+ - \d+$`).MatchString(line):
			served++
		default:
			t.Errorf("the line %s", line)
		}
	}
	if failed == 0 || served != 2 {
		t.Errorf("%d failed, %d served", failed, served)
	}
}

// flush_upstream_log_on_upstream_stream: one more line when the attempt has a connection.
func TestUpstreamLogOnUpstreamStream(t *testing.T) {
	harness.NoLeaks(t)
	p, lines := upstreamLogged(t, one(harness.NewRecorder(t, nil)), attemptLine, "flush_upstream_log_on_upstream_stream: true")
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Do(postHello)
	w.Close()
	wantAttempts(t, lines(2), "UpstreamPoolReady 1 0 - - 0 0", "UpstreamEnd 1 200 - via_upstream 5 2")
}

// upstream_log_flush_interval: one more line as often as it says, with what there is by then.
func TestUpstreamLogFlushInterval(t *testing.T) {
	harness.NoLeaks(t)
	enough := make(chan bool)
	raw := harness.NewRaw(t, headThen(partAnswer, func(c *harness.Peer) {
		select {
		case <-enough:
			c.Send("67890")
		case <-c.Stopped():
		}
		c.Drain()
	}))
	p, lines := upstreamLogged(t, one(raw), attemptLine, "upstream_log_flush_interval: 0.01s")
	c := p.Dial().Send(plainGet)
	harness.Eventually(t, "a line in the middle of the response", func() bool {
		return strings.Contains(strings.Join(lines(1), "\n"), "UpstreamPeriodic 1 200 - via_upstream 0 5")
	})
	close(enough)
	c.Read("GET").Want(200, "1234567890")
	harness.Eventually(t, "the line of the end", func() bool {
		all := lines(1)
		return all[len(all)-1] == "UpstreamEnd 1 200 - via_upstream 0 10"
	})
	if all := lines(1); strings.Count(strings.Join(all, "\n"), "UpstreamEnd") != 1 {
		t.Errorf("the attempts are %q", all)
	}
	c.Close()
}

// Filters choose lines by what they say of the attempt.
func TestUpstreamLogFilters(t *testing.T) {
	for _, row := range []struct {
		filter string
		want   []string
	}{
		{"log_type_filter: { types: [UpstreamPoolReady] }", []string{"UpstreamPoolReady 1 0 - - 0 0", "UpstreamPoolReady 2 0 - - 0 0"}},
		{"log_type_filter: { types: [UpstreamEnd] }", []string{"UpstreamEnd 1 503 - via_upstream 5 3", "UpstreamEnd 2 200 - via_upstream 5 3"}},
		{"status_code_filter: { comparison: { op: GE, value: { default_value: 500, runtime_key: none } } }", []string{"UpstreamEnd 1 503 - via_upstream 5 3"}},
	} {
		t.Run(row.filter, func(t *testing.T) {
			harness.NoLeaks(t)
			top := retrying(quick("retry_on: 5xx"), inTurn(t, answered(503), answered(200)))
			p, lines := upstreamLogged(t, top, attemptLine, "flush_upstream_log_on_upstream_stream: true", "filter: { "+row.filter+" },")
			w := harness.DialWire(t, "tcp", p.Addr)
			w.Do(postHello)
			w.Close()
			wantAttempts(t, lines(len(row.want)), row.want...)
		})
	}
}

// Over HTTP/2, with trailers.
func TestUpstreamLogOverHTTP2(t *testing.T) {
	harness.NoLeaks(t)
	o := newH2Origin(t, &http2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "grpc-status")
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("grpc-status", "5")
	})
	path := filepath.Join(t.TempDir(), "upstream.log")
	p := startH2Upstream(t, one(o), nil, func(m *conf.HTTPConnectionManager) {
		m.Router.UpstreamLogs = []*conf.AccessLog{{Path: path, Format: &conf.Format{Text: attemptLine + " %UPSTREAM_PROTOCOL% %TRAILER(GRPC-STATUS)%\n"}}}
		m.Router.LogOnUpstreamStream = true
	})
	resp, err := h1Client(t, 1).Post("http://"+p.Addr+"/a", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	want := "UpstreamPoolReady 1 0 - - 0 0 HTTP/2 -\nUpstreamEnd 1 200 - via_upstream 5 4 HTTP/2 5\n"
	var got string
	harness.Eventually(t, "both lines", func() bool {
		p.Server.FlushLogs()
		b, err := os.ReadFile(path)
		got = string(b)
		return err == nil && strings.Count(got, "\n") == 2
	})
	if got != want {
		t.Errorf("the attempts are\n%swant\n%s", got, want)
	}
}

// Copies for mirrors have no lines; a tunnel has one when it is over, with its bytes.
func TestUpstreamLogOfMirrorsAndTunnels(t *testing.T) {
	harness.NoLeaks(t)
	shadow := harness.NewRecorder(t, nil)
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		for head := c.ReadHead(); head != ""; head = c.ReadHead() {
			if !strings.Contains(strings.ToLower(head), "upgrade: websocket") {
				c.Respond("ok")
				continue
			}
			c.Send(switching("websocket"))
			_, _ = io.Copy(c.TCPConn, c.In)
			return
		}
	})
	top := retrying("request_mirror_policies: [{ cluster: shadow }]", raw)
	top.Manager += "\nupgrade_configs: [{ upgrade_type: websocket }]"
	top.Clusters = append(top.Clusters, harness.Cluster{Name: "shadow", Origins: []harness.Origin{shadow}})
	p, lines := upstreamLogged(t, top, attemptLine+" %UPSTREAM_CLUSTER%", "")
	ask(t, p, "h", "/a")
	harness.Eventually(t, "the copy", func() bool { return len(shadow.Seen()) == 1 })
	wantAttempts(t, lines(1), "UpstreamEnd 1 200 - via_upstream 0 2 origin")
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askUpgrade("websocket"))
	w.ReadHead()
	wantEcho(t, w.Conn, w.In, "0123456789")
	w.Close()
	wantAttempts(t, lines(2)[1:], "UpstreamEnd 1 101 - via_upstream 10 10 origin")
}

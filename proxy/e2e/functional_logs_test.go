package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// operatorRow is an operator and what it must print, a regular expression, for the request of
// TestEveryOperator: a POST of 4 bytes answered with 5.
type operatorRow struct{ operator, want string }

const (
	number  = `\d+`
	ipPort  = `127\.0\.0\.1:\d+`
	someSum = `[1-9]\d*`
)

var operatorRows = []operatorRow{
	{"START_TIME", `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`},
	{"START_TIME(%Y/%m/%d %s.%3f)", `\d{4}/\d\d/\d\d \d{10}\.\d{3}`},
	{"EMIT_TIME", `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`},
	{"REQ(:METHOD)", "POST"},
	{"REQ(:PATH)", `/p\?q=1`},
	{"REQ(:AUTHORITY)", "log.test"},
	{"REQ(X-None?X-Some)", "abcdef"},
	{"REQ(X-Some):3", "abc"},
	{"REQ(X-None)", "-"},
	{"RESP(X-Back)", "back"},
	{"RESP(CONTENT-LENGTH)", "5"},
	{"TRAILER(X-T)", "-"},
	{"PROTOCOL", `HTTP/1\.1`},
	{"UPSTREAM_PROTOCOL", `HTTP/1\.1`},
	{"RESPONSE_CODE", "200"},
	{"RESPONSE_CODE_DETAILS", "via_upstream"},
	{"RESPONSE_FLAGS", "-"},
	{"RESPONSE_FLAGS_LONG", "-"},
	{"CONNECTION_TERMINATION_DETAILS", "-"},
	{"BYTES_RECEIVED", "4"},
	{"BYTES_SENT", "5"},
	{"DURATION", number},
	{"REQUEST_DURATION", number},
	{"REQUEST_TX_DURATION", number},
	{"RESPONSE_DURATION", number},
	{"RESPONSE_TX_DURATION", number},
	{"DOWNSTREAM_HANDSHAKE_DURATION", "-"},
	{"UPSTREAM_CONNECTION_POOL_READY_DURATION", number},
	{"COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)", number},
	{"COMMON_DURATION(US_TX_BEG:US_RX_BEG:ns)", number},
	{"UPSTREAM_REQUEST_ATTEMPT_COUNT", "1"},
	{"DOWNSTREAM_HEADER_BYTES_RECEIVED", someSum},
	{"DOWNSTREAM_HEADER_BYTES_SENT", someSum},
	{"UPSTREAM_HEADER_BYTES_RECEIVED", someSum},
	{"UPSTREAM_HEADER_BYTES_SENT", someSum},
	{"DOWNSTREAM_WIRE_BYTES_RECEIVED", someSum},
	{"DOWNSTREAM_WIRE_BYTES_SENT", someSum},
	{"UPSTREAM_WIRE_BYTES_RECEIVED", someSum},
	{"UPSTREAM_WIRE_BYTES_SENT", someSum},
	{"UPSTREAM_HOST", ipPort},
	{"UPSTREAM_HOST_NAME", ipPort},
	{"UPSTREAM_CLUSTER", "origin"},
	{"UPSTREAM_CLUSTER_RAW", "origin"},
	{"UPSTREAM_REMOTE_ADDRESS", ipPort},
	{"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", `127\.0\.0\.1`},
	{"UPSTREAM_REMOTE_PORT", number},
	{"UPSTREAM_LOCAL_ADDRESS", ipPort},
	{"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", `127\.0\.0\.1`},
	{"UPSTREAM_LOCAL_PORT", number},
	{"UPSTREAM_TRANSPORT_FAILURE_REASON", "-"},
	{"UPSTREAM_CONNECTION_ID", number},
	{"DOWNSTREAM_TRANSPORT_FAILURE_REASON", "-"},
	{"DOWNSTREAM_REMOTE_ADDRESS", ipPort},
	{"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", `127\.0\.0\.1`},
	{"DOWNSTREAM_REMOTE_PORT", number},
	{"DOWNSTREAM_DIRECT_REMOTE_ADDRESS", ipPort},
	{"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", `127\.0\.0\.1`},
	{"DOWNSTREAM_DIRECT_REMOTE_PORT", number},
	{"DOWNSTREAM_LOCAL_ADDRESS", ipPort},
	{"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", `127\.0\.0\.1`},
	{"DOWNSTREAM_LOCAL_PORT", number},
	{"DOWNSTREAM_DIRECT_LOCAL_ADDRESS", ipPort},
	{"CONNECTION_ID", number},
	{"STREAM_ID", number},
	{"ROUTE_NAME", "the-route"},
	{"VIRTUAL_CLUSTER_NAME", "-"},
	{"FILTER_CHAIN_NAME", "-"},
	{"ACCESS_LOG_TYPE", "DownstreamEnd"},
	{"HOSTNAME", ".+"},
	{"ENVIRONMENT(SLUICE_E2E_LOG)", "here"},
	{"LOCAL_REPLY_BODY", ""},
	{"REQUESTED_SERVER_NAME", "-"},
	{"GRPC_STATUS", "-"},
	{"GRPC_STATUS_NUMBER", "-"},
	{"DOWNSTREAM_TLS_VERSION", "-"},
	{"DOWNSTREAM_PEER_SUBJECT", "-"},
}

// operations.md 5, text and JSON.
func TestEveryOperator(t *testing.T) {
	harness.NoLeaks(t)
	t.Setenv("SLUICE_E2E_LOG", "here")
	reply := harness.Reply("hello", "X-Back: back")
	o := harness.NewRecorder(t, func(*harness.Message) string { return reply })
	top := one(o)
	top.Routes = "- { name: the-route, match: { prefix: / }, route: { cluster: origin } }"
	var text, object strings.Builder
	for i, row := range operatorRows {
		text.WriteString("%" + row.operator + "%\t")
		fmt.Fprintf(&object, "k%d: %q, ", i, "%"+row.operator+"%")
	}
	top.LogFormat = text.String()
	dir := t.TempDir()
	log, jsonLog := filepath.Join(dir, "log"), filepath.Join(dir, "json")
	const fileType = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
	second := fmt.Sprintf("          - { name: json, typed_config: { \"@type\": %s, path: %q, log_format: { json_format: { %s } } } }\n          http_filters:", fileType, jsonLog, object.String())
	yaml := strings.Replace(top.YAML(log), "          http_filters:", second, 1)
	p := harness.StartConf(t, harness.Load(t, yaml), 1, log, o)
	w := harness.DialWire(t, "tcp", p.Addr)
	const request = "POST /p?q=1 HTTP/1.1\r\nHost: log.test\r\nX-Some: abcdef\r\nContent-Length: 4\r\n\r\nping"
	answer := w.Do(request)
	values := strings.Split(p.AwaitLines(1)[0], "\t")
	var typed map[string]any
	harness.Eventually(t, "the JSON line is written", func() bool {
		b, err := os.ReadFile(jsonLog)
		return err == nil && json.Unmarshal(b, &typed) == nil
	})
	local := w.Conn.LocalAddr().(*net.TCPAddr)
	exact := map[string]string{
		"DOWNSTREAM_WIRE_BYTES_RECEIVED": fmt.Sprint(len(request)), "DOWNSTREAM_HEADER_BYTES_RECEIVED": fmt.Sprint(len(request) - 4),
		"DOWNSTREAM_WIRE_BYTES_SENT": fmt.Sprint(answer.Wire), "DOWNSTREAM_HEADER_BYTES_SENT": fmt.Sprint(answer.Wire - 5),
		"UPSTREAM_WIRE_BYTES_SENT": fmt.Sprint(o.Last(t).Wire), "UPSTREAM_WIRE_BYTES_RECEIVED": fmt.Sprint(len(reply)),
		"DOWNSTREAM_REMOTE_PORT": fmt.Sprint(local.Port), "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": local.String(),
		"DOWNSTREAM_LOCAL_ADDRESS": p.Addr, "UPSTREAM_HOST": o.Address(),
	}
	for i, row := range operatorRows {
		if !regexp.MustCompile("^(" + row.want + ")$").MatchString(values[i]) {
			t.Errorf("%%%s%% is %q, want %s", row.operator, values[i], row.want)
		}
		if want := exact[row.operator]; want != "" && values[i] != want {
			t.Errorf("%%%s%% is %q, want %s", row.operator, values[i], want)
		}
		v := typed[fmt.Sprintf("k%d", i)]
		switch got := v.(type) {
		case nil:
			if values[i] != "-" {
				t.Errorf("%%%s%% is null in JSON and %q in text", row.operator, values[i])
			}
		case float64:
			if !regexp.MustCompile("^(" + row.want + ")$").MatchString(fmt.Sprintf("%.0f", got)) {
				t.Errorf("%%%s%% is %v in JSON", row.operator, got)
			}
		case string:
			if !regexp.MustCompile("^(" + row.want + ")$").MatchString(got) {
				t.Errorf("%%%s%% is %q in JSON", row.operator, got)
			}
		}
	}
}

func TestTheDefaultLine(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	top := one(o)
	log := filepath.Join(t.TempDir(), "log")
	yaml := regexp.MustCompile(`(?m)^\s+log_format: .*$`).ReplaceAllString(top.YAML(log), "")
	p := harness.StartConf(t, harness.Load(t, yaml), 1, log, o)
	ask(t, p, "h.test", "/a", "User-Agent: tester", "X-Request-Id: id-1", "X-Forwarded-For: 1.2.3.4")
	want := `^\[[0-9T:.-]+Z\] "GET /a HTTP/1\.1" 200 - 0 2 \d+ \d+ "1\.2\.3\.4" "tester" "id-1" "h\.test" "` + regexp.QuoteMeta(o.Address()) + `"$`
	if got := p.AwaitLines(1); !regexp.MustCompile(want).MatchString(got[0]) {
		t.Errorf("line %q, want %s", got[0], want)
	}
}

// Lines wait in the loops' buffers until the interval is over; a rotated file is left for a new one.
func TestLogsAreBufferedFlushedAndReopened(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	top := one(o)
	top.LogFormat = "%REQ(:PATH)%"
	log := filepath.Join(t.TempDir(), "log")
	c := harness.Load(t, top.YAML(log))
	c.AccessLogFlushInterval = time.Hour
	p := harness.StartConf(t, c, 1, log, o)
	ask(t, p, "h", "/first")
	p.WantQuiet()
	if b, err := os.ReadFile(log); err != nil || len(b) != 0 {
		t.Errorf("written before the flush: %q, %v", b, err)
	}
	p.WantLines("/first")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := p.Server.Logs().Reopen(); err != nil {
		t.Fatal(err)
	}
	ask(t, p, "h", "/second")
	p.WantLines("/second")
	if b, err := os.ReadFile(log + ".1"); err != nil || string(b) != "/first\n" {
		t.Errorf("the rotated file has %q, %v", b, err)
	}
}

// Filters choose the lines.
func TestLogFilters(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	top := one(o)
	top.LogFormat = "%RESPONSE_CODE% %REQ(:PATH)%"
	log := filepath.Join(t.TempDir(), "log")
	yaml := strings.Replace(top.YAML(log), "          - name: file\n", `          - name: file
            filter: { or_filter: { filters: [
              { status_code_filter: { comparison: { op: GE, value: { default_value: 500, runtime_key: x } } } },
              { header_filter: { header: { name: x-log, present_match: true } } } ] } }
`, 1)
	p := harness.StartConf(t, harness.Load(t, yaml), 1, log, o)
	ask(t, p, "h", "/")
	ask(t, p, "h", "/status/404")
	ask(t, p, "h", "/status/500")
	ask(t, p, "h", "/", "X-Log: 1")
	p.WantLines("500 /status/500", "200 /")
}

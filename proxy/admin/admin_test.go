package admin_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	mutating = []string{
		"/cpuprofiler", "/drain_listeners", "/healthcheck/fail", "/healthcheck/ok", "/heapprofiler", "/logging", "/quitquitquit",
		"/reopen_logs", "/reset_counters", "/runtime_modify", "/stats/recentlookups/clear", "/stats/recentlookups/disable",
		"/stats/recentlookups/enable",
	}
	reading = []string{
		"/", "/certs", "/clusters", "/config_dump", "/contention", "/debug/pprof/", "/explain", "/heap_dump", "/help", "/hot_restart_version",
		"/init_dump", "/listeners", "/memory", "/ready", "/runtime", "/server_info", "/stats", "/stats/prometheus", "/stats/recentlookups",
	}
)

func TestEveryPathIsInHelpOnce(t *testing.T) {
	f := start(t, true)
	lines := strings.Split(strings.TrimSuffix(f.get("/help").body, "\n"), "\n")
	if lines[0] != "admin commands are:" {
		t.Errorf("first line %q", lines[0])
	}
	listed := map[string]bool{}
	for _, line := range lines[1:] {
		m := regexp.MustCompile(`^  (/\S*)( \(POST\))?: \S`).FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a help line: %q", line)
			continue
		}
		if listed[m[1]] {
			t.Errorf("%s is listed twice", m[1])
		}
		listed[m[1]] = true
	}
	if len(listed) != len(mutating)+len(reading) {
		t.Errorf("%d paths are listed, %d known to this test", len(listed), len(mutating)+len(reading))
	}
	for _, path := range append(mutating, reading...) {
		if !listed[path] {
			t.Errorf("%s is not listed", path)
		}
	}
}

// AMB-21.
func TestMutationsNeedPost(t *testing.T) {
	f := start(t, true)
	for _, path := range mutating {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			a := f.do(method, f.admin+path)
			want := fmt.Sprintf("Method %s not allowed, POST required.\n", method)
			if a.status != 405 || a.body != want || a.header.Get("Allow") != "POST" {
				t.Errorf("%s %s: %d %q, allow %q", method, path, a.status, a.body, a.header.Get("Allow"))
			}
		}
	}
	for _, path := range reading {
		if a := f.post(path); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %d, allow %q", path, a.status, a.header.Get("Allow"))
		}
	}
	if f.server.State().String() != "LIVE" || len(f.quits) != 0 {
		t.Error("a refused method had an effect")
	}
}

func TestEveryPageHasTheCommonHeaders(t *testing.T) {
	f := start(t, true)
	json := regexp.MustCompile(`^/(certs|config_dump|init_dump|memory|runtime|server_info)$`)
	for _, path := range append([]string{"/nowhere"}, reading...) {
		a := f.get(path)
		want := "text/plain; charset=UTF-8"
		switch {
		case json.MatchString(path):
			want = "application/json"
		case path == "/":
			want = "text/html; charset=UTF-8"
		case path == "/debug/pprof/":
			want = "text/html; charset=utf-8"
		}
		if got := a.header.Get("Content-Type"); got != want {
			t.Errorf("%s: content type %q, want %q", path, got, want)
		}
		if a.header.Get("Cache-Control") != "no-cache, max-age=0" || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, a.header)
		}
	}
}

func TestAnUnknownPathGetsTheHelp(t *testing.T) {
	f := start(t, true)
	a := f.get("/nowhere")
	if want := "invalid path. " + f.get("/help").body; a.status != 404 || a.body != want {
		t.Errorf("%d %q", a.status, a.body)
	}
}

func TestSmallPagesByteForByte(t *testing.T) {
	f := start(t, true)
	for _, row := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/ready", 200, "LIVE\n"},
		{"GET", "/hot_restart_version", 200, "disabled"},
		{"POST", "/reset_counters", 200, "OK\n"},
		{"POST", "/reopen_logs", 200, "OK\n"},
		{"POST", "/logging", 200, "active loggers:\n  sluice: info\n"},
		{"POST", "/logging?level=debug", 200, "active loggers:\n  sluice: debug\n"},
		{"POST", "/logging?sluice=info", 200, "active loggers:\n  sluice: info\n"},
		{"POST", "/logging?level=loud", 400, "unknown level \"loud\": trace, debug, info, warning, error, critical and off are known\n"},
		{"POST", "/logging?http=debug", 400, "usage: /logging?level=<level> (there is one logger, sluice)\n"},
		{"POST", "/logging?level=debug&sluice=info", 400, "usage: /logging?level=<level>\n"},
		{"GET", "/contention", 200, "Mutex contention tracing is not enabled. To enable, run sluice with flag --enable-mutex-tracing.\n"},
		{"POST", "/runtime_modify?a=b", 200, "OK\n"},
		{"POST", "/runtime_modify?a=", 200, "OK\n"},
		{"POST", "/runtime_modify", 400, "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\nor send the parameters as form values\nuse an empty value to remove a previously added override\n"},
		{"POST", "/cpuprofiler?enable=y", 501, "disabled: profiles are at /debug/pprof/\n"},
		{"POST", "/drain_listeners?skip_exit", 400, "skip_exit requires graceful\n"},
		{"POST", "/drain_listeners?quick", 400, "unknown parameter \"quick\"; graceful, skip_exit and inboundonly are known\n"},
		{"GET", "/stats?filter=(", 400, "Invalid re2 regex: error parsing regexp: missing closing ): `(`\n"},
		{"GET", "/stats?type=Counter", 400, "invalid &type= param: \"Counter\" is none of All, Counters, Gauges, Histograms, TextReadouts\n"},
		{"GET", "/stats?format=xml", 400, "usage: /stats?format=(text|json|prometheus)\n"},
		{"GET", "/stats?histogram_buckets=many", 400, "usage: /stats?histogram_buckets=(summary|cumulative|disjoint)\n"},
		{"GET", "/config_dump?resource=nothing", 404, "nothing not found in config dump\n"},
		{"GET", "/config_dump?mask=bootstrap", 400, "mask is not supported; use resource and name_regex\n"},
		{"GET", "/config_dump?resorce=x", 400, "unknown parameter \"resorce\"; resource, name_regex and include_eds are known\n"},
	} {
		if a := f.do(row.method, f.admin+row.path); a.status != row.status || a.body != row.want {
			t.Errorf("%s %s: %d %q, want %d %q", row.method, row.path, a.status, a.body, row.status, row.want)
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	f := start(t, true)
	if a := f.do("HEAD", f.admin+"/ready"); a.status != 200 || a.body != "" {
		t.Errorf("%d %q", a.status, a.body)
	}
}

func TestAllowPathsRestricts(t *testing.T) {
	f := start(t, true, "admin:\n", "admin:\n  allow_paths: [ { exact: /ready }, { prefix: /stats } ]\n")
	for path, want := range map[string]int{
		"/ready": 200, "/stats": 200, "/stats/prometheus": 200, "/help": 403, "/ready/": 403, "/nowhere": 403, "/debug/pprof/": 403,
	} {
		if a := f.get(path); a.status != want || want == 403 && a.body != fmt.Sprintf("request to path %s not allowed\n", path) {
			t.Errorf("%s: %d %q, want %d", path, a.status, a.body, want)
		}
	}
	if f.post("/quitquitquit").status != 403 || len(f.quits) != 0 {
		t.Error("quitquitquit is not among the allowed paths")
	}
}

func TestProfilesAreReachable(t *testing.T) {
	f := start(t, true)
	for _, name := range []string{"heap?debug=1", "goroutine?debug=1", "allocs?debug=1", "mutex?debug=1", "cmdline", "symbol", "trace?seconds=0.01"} {
		if a := f.get("/debug/pprof/" + name); a.status != 200 || a.body == "" {
			t.Errorf("%s: %d, %d bytes", name, a.status, len(a.body))
		}
	}
}

func TestQuitIsAskedForAfterTheAnswer(t *testing.T) {
	f := start(t, true)
	if a := f.post("/quitquitquit"); a.status != 200 || a.body != "OK\n" {
		t.Errorf("%d %q", a.status, a.body)
	}
	await(t, "quit", func() bool { return len(f.quits) == 1 })
}

func TestHomePageLinksEveryPage(t *testing.T) {
	f := start(t, true)
	body := f.get("/").body
	for _, path := range reading[1:] {
		if !strings.Contains(body, `<a href="`+path+`">`) {
			t.Errorf("no link to %s", path)
		}
	}
	for _, path := range mutating {
		if !strings.Contains(body, `<form method="post" action="`+path+`">`) {
			t.Errorf("no form for %s", path)
		}
	}
	if !strings.Contains(body, "LIVE") || !strings.Contains(body, "rev/1.2.3/Clean/RELEASE/go") {
		t.Error("neither state nor version")
	}
}

func TestAdminOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	f := start(t, true, "{ address: 127.0.0.1, port_value: 0 } }\nstatic", "UNUSED",
		"  address: { socket_address: { address: 127.0.0.1, port_value: 0 } }\nstatic_resources", "  address: { pipe: { path: "+path+", mode: 384 } }\nstatic_resources")
	f.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	if a := f.do("GET", "http://admin/ready"); a.body != "LIVE\n" {
		t.Errorf("%d %q", a.status, a.body)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

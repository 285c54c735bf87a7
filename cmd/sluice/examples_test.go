package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/envoy"
)

func TestEveryExampleIsValid(t *testing.T) {
	files, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(files) < 7 {
		t.Fatalf("%v %v", files, err)
	}
	for _, path := range files {
		out, err := exec.Command("sluice", "validate", path).CombinedOutput()
		if want := fmt.Sprintf("configuration '%s' OK\n", path); err != nil || string(out) != want {
			t.Errorf("%s: %v %s", path, err, out)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "# ") || !strings.Contains(string(text), "sluice -c "+filepath.Base(path)) {
			t.Errorf("%s does not begin with what it is for and how to run it", path)
		}
	}
}

// example is a running file of examples/ whose ports were replaced.
type example struct {
	t      *testing.T
	server *proxy.Server
	addr   string
	client *http.Client
}

// ownPort is the address of a listener: any port of the test's.
var ownPort = regexp.MustCompile(`address: 0\.0\.0\.0, port_value: \d+`)

// runExample runs examples/<name>; replace are pairs of text besides the listeners' ports.
func runExample(t *testing.T, name string, replace ...string) *example {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("examples", name))
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(changed, replace[i]) {
			t.Fatalf("%s has no %q", name, replace[i])
		}
		changed = strings.ReplaceAll(changed, replace[i], replace[i+1])
	}
	changed = ownPort.ReplaceAllString(changed, "address: 127.0.0.1, port_value: 0")
	loaded, err := envoy.Load(envoy.Source{Path: name, Data: []byte(changed), CheckFormat: checkFormat, CheckGenericFormat: checkGenericFormat})
	if err != nil {
		t.Fatal(err)
	}
	s, err := proxy.New(proxy.Options{Config: loaded.Conf, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	e := &example{t: t, server: s, addr: s.Listeners()[0].Addresses[0].String()}
	e.client = &http.Client{
		Timeout: patience, Transport: &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(e.client.CloseIdleConnections)
	return e
}

// get returns the status, the header and the body; header is "Name: value" lines.
func (e *example) get(host, path string, header ...string) (int, http.Header, string) {
	e.t.Helper()
	req, err := http.NewRequest("GET", "http://"+e.addr+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	req.Host = host
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

// newOrigin starts an origin and returns "port_value: N" for it.
func newOrigin(t *testing.T, name string) string {
	t.Helper()
	o, err := origin.New(origin.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Stop)
	_, port, _ := net.SplitHostPort(o.Addr().String())
	return "port_value: " + port
}

func TestExampleFrontProxy(t *testing.T) {
	e := runExample(t, "front-proxy.yaml",
		"port_value: 9001", newOrigin(t, "shop-1"), "port_value: 9002", newOrigin(t, "shop-2"),
		"port_value: 9003", newOrigin(t, "api"), "port_value: 9004", newOrigin(t, "site"), "port_value: 9005", newOrigin(t, "backup"))
	for _, row := range []struct {
		host, path string
		status     int
		body       string
	}{
		{"shop.example", "/", 200, "^hello from shop-[12]"},
		{"SHOP.example:8080", "/", 200, "^hello from shop-[12]"},
		{"shop.example", "/api/", 200, "^hello from api"},
		{"shop.example", "/api/bytes/3", 200, "^...$"},
		{"www.example.com", "/", 200, "^hello from site"},
		{"example.com", "/healthz", 200, "^ok\n$"},
		{"other.example", "/", 404, "^$"},
	} {
		if status, _, body := e.get(row.host, row.path); status != row.status || !regexp.MustCompile(row.body).MatchString(body) {
			t.Errorf("%s%s: %d %q, want %d %s", row.host, row.path, status, body, row.status, row.body)
		}
	}
}

func TestExampleHeaders(t *testing.T) {
	e := runExample(t, "headers.yaml", "port_value: 9000", newOrigin(t, "o"))
	status, header, body := e.get("a.example", "/headers", "X-Internal-Token: secret", "X-Edge: forged")
	if status != 200 || header.Get("Server") != "edge" || header.Get("Strict-Transport-Security") != "max-age=31536000" || !strings.HasPrefix(header.Get("X-Upstream"), "127.0.0.1:") {
		t.Errorf("%d %v", status, header)
	}
	if !strings.Contains(body, "x-edge: 127.0.0.1\r\n") || strings.Contains(body, "secret") || strings.Contains(body, "forged") {
		t.Errorf("the origin got %q", body)
	}
	_, _, body = e.get("a.example", "/legacy/headers")
	for _, want := range []string{"GET /headers HTTP/1.1\r\n", "host: legacy.internal\r\n", "x-api-version: 1\r\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("the origin got %q without %q", body, want)
		}
	}
}

func TestExampleRedirects(t *testing.T) {
	e := runExample(t, "redirects.yaml")
	for _, row := range []struct {
		host, path string
		status     int
		location   string
		body       string
	}{
		{"example.com", "/a?b=c", 301, "https://www.example.com/a?b=c", ""},
		{"x", "/old", 308, "http://x/new", ""},
		{"x", "/old/page", 302, "http://x/new/page", ""},
		{"x", "/robots.txt", 200, "", "User-agent: *\nDisallow: /\n"},
		{"x", "/v1/users", 410, "", "version 1 is gone\n"},
		{"x", "/v10", 503, "", "down for maintenance\n"},
	} {
		if status, header, body := e.get(row.host, row.path); status != row.status || header.Get("Location") != row.location || body != row.body {
			t.Errorf("%s%s: %d %q %q, want %+v", row.host, row.path, status, header.Get("Location"), body, row)
		}
	}
}

func TestExampleAccessLogs(t *testing.T) {
	log := filepath.Join(t.TempDir(), "errors.json")
	e := runExample(t, "access-logs.yaml", "port_value: 9000", newOrigin(t, "o"), "sluice-errors.json", log, "access_loggers.stdout", "access_loggers.stderr", "StdoutAccessLog", "StderrAccessLog")
	e.get("x", "/status/200")
	e.get("x", "/status/404")
	e.server.FlushLogs()
	var text []byte
	poll(t, "the line", func() bool {
		text, _ = os.ReadFile(log)
		return strings.Contains(string(text), "\n")
	})
	var line map[string]any
	if err := json.Unmarshal(text, &line); err != nil { // fails on two lines
		t.Fatalf("%v: %s", err, text)
	}
	if line["method"] != "GET" || line["path"] != "/status/404" || line["status"] != 404.0 || line["flags"] != "-" || line["details"] != "via_upstream" {
		t.Errorf("%s", text)
	}
}

func TestExampleCircuitBreakers(t *testing.T) {
	e := runExample(t, "circuit-breakers.yaml", "port_value: 9000", newOrigin(t, "o"))
	// One request has the only connection, one waits, the third is one too many.
	var slow sync.WaitGroup
	for i := range 2 {
		slow.Go(func() { e.get("x", "/delay/1000") })
		poll(t, "under way", func() bool {
			n := int64(0)
			for _, g := range e.server.Registry().Collect().Gauges {
				if g.Name == "http.ingress.downstream_rq_active" {
					n = g.Value
				}
			}
			return n == int64(i+1)
		})
	}
	status, header, body := e.get("x", "/")
	if status != 503 || header.Get("X-Envoy-Overloaded") != "true" || !strings.HasSuffix(body, "reset reason: overflow") {
		t.Errorf("%d %v %q", status, header, body)
	}
	if status, _, _ := e.get("x", "/admin/"); status == 503 {
		t.Error("the high priority has breakers of its own")
	}
	slow.Wait()
}

func TestExampleUnixSockets(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "origin"))
	if err != nil {
		t.Fatal(err)
	}
	o := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "over a socket") })}
	go o.Serve(l)
	defer o.Close()
	e := runExample(t, "unix-sockets.yaml", "sluice-origin.sock", filepath.Join(dir, "origin"), "sluice.sock", filepath.Join(dir, "in"), "sluice-admin.sock", filepath.Join(dir, "admin"))
	c, err := net.Dial("unix", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != "over a socket" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

func TestExampleDNS(t *testing.T) {
	e := runExample(t, "dns.yaml", "port_value: 9000", newOrigin(t, "named"))
	if status, _, body := e.get("x", "/"); status != 200 || !strings.HasPrefix(body, "hello from named") {
		t.Errorf("%d %q", status, body)
	}
	if _, _, body := e.get("x", "/headers"); !strings.Contains(body, "host: localhost\r\n") {
		t.Errorf("auto_host_rewrite: the origin got %q", body)
	}
}

func TestExampleHTTPFilters(t *testing.T) {
	e := runExample(t, "http-filters.yaml", "port_value: 9000", newOrigin(t, "o"), "port_value: 9901", "port_value: 0")
	for _, row := range []struct {
		path, name, value string
		status            int
	}{
		{"/healthz", "", "", 200},
		{"/", "x-envoy-fault-abort-request", "418", 418},
		{"/api", "origin", "https://a.example.com", 404},
	} {
		req, err := http.NewRequest("GET", "http://"+e.addr+row.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.name != "" {
			req.Header.Set(row.name, row.value)
		}
		resp, err := e.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != row.status || resp.Header.Get("x-served-by") == "" {
			t.Errorf("%s: %d, x-served-by %q", row.path, resp.StatusCode, resp.Header.Get("x-served-by"))
		}
		if row.path == "/api" && resp.Header.Get("access-control-allow-origin") != row.value {
			t.Errorf("no CORS headers: %v", resp.Header)
		}
	}
}

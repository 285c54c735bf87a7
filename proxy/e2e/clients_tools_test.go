package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// A client of a script of one line must have been answered as often as it says, and by the origin.
func TestLoadTools(t *testing.T) {
	harness.NoLeaks(t)
	const requests = 2000
	for _, row := range []struct {
		tool, title string
		args        []string
		// one submatch: how many requests were answered well
		answered string
		// without matches none of the output
		bad       string
		keepAlive bool
	}{
		{"ab", "keep-alive", []string{"-q", "-k", "-n", "2000", "-c", "8"}, `Complete requests:\s+(\d+)`, `Non-2xx|Failed requests:\s+[1-9]`, true},
		{"ab", "connection per request", []string{"-q", "-n", "2000", "-c", "8"}, `Complete requests:\s+(\d+)`, `Non-2xx|Failed requests:\s+[1-9]`, false},
		{"hey", "keep-alive", []string{"-n", "2000", "-c", "8"}, `\[200\]\s+(\d+) responses`, `Error distribution`, true},
		{"hey", "connection per request", []string{"-n", "2000", "-c", "8", "-disable-keepalive"}, `\[200\]\s+(\d+) responses`, `Error distribution`, false},
		{"wrk", "keep-alive", []string{"-t", "1", "-c", "16", "-d", "1s"}, `(\d+) requests in`, `Non-2xx|Socket errors`, true},
		{"wrk", "connection per request", []string{"-t", "1", "-c", "16", "-d", "1s", "-H", "Connection: close"}, `(\d+) requests in`, `Non-2xx|Socket errors: connect [1-9]`, false},
	} {
		t.Run(row.tool+" "+row.title, func(t *testing.T) {
			path := harness.Tool(t, row.tool)
			top := one(harness.NewOrigin(t, "a"))
			top.Loops = 2
			top.Manager = "http_protocol_options: { accept_http_10: true }" // ab speaks 1.0
			p := harness.Start(t, top)
			out := harness.Run(t, path, append(row.args, "http://"+p.Addr+"/bytes/300")...)
			m := regexp.MustCompile(row.answered).FindStringSubmatch(out)
			if m == nil || regexp.MustCompile(row.bad).MatchString(out) {
				t.Fatalf("%s", out)
			}
			done := int64(0)
			_, _ = fmt.Sscan(m[1], &done)
			if row.tool != "wrk" && done != requests || done == 0 {
				t.Fatalf("%d requests answered:\n%s", done, out)
			}
			all := p.Stats()
			if all["http.in.downstream_rq_2xx"] < done || all["http.in.downstream_rq_5xx"]+all["http.in.downstream_rq_4xx"] != 0 {
				t.Errorf("the proxy counts %d good answers of %d", all["http.in.downstream_rq_2xx"], done)
			}
			if cx := all["http.in.downstream_cx_total"]; row.keepAlive && cx > 64 || !row.keepAlive && cx < done {
				t.Errorf("%d connections for %d requests", cx, done)
			}
		})
	}
}

func TestCurl(t *testing.T) {
	curl := harness.Tool(t, "curl")
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	top := one(o)
	top.Manager = "http_protocol_options: { accept_http_10: true }"
	p := harness.Start(t, top)
	dir := t.TempDir()
	file := filepath.Join(dir, "body")
	body := bench.Pattern(nil, 3<<20+17)
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	url := "http://" + p.Addr
	sum := fmt.Sprintf("%d %08x\n", len(body), patternSum(int64(len(body))))
	for _, row := range []struct {
		title string
		args  []string
		want  string
	}{
		{"two requests on one connection", []string{url + "/", url + "/", "-w", "%{num_connects} "}, "hello from a\n1 hello from a\n0 "},
		{"connection: close", []string{"-H", "Connection: close", url + "/", url + "/", "-w", "%{num_connects} "}, "hello from a\n1 hello from a\n1 "},
		{"HTTP/1.0", []string{"-0", url + "/", "-w", "%{http_version} %{http_code}"}, "hello from a\n1.1 200"},
		{"HEAD", []string{"-I", url + "/bytes/77", "-o", file + ".head", "-w", "%{http_code} %header{content-length} %{size_download}"}, "200 77 0"},
		{"upload with 100-continue", []string{"-T", file, url + "/drain", "--expect100-timeout", "20", "-H", "Expect: 100-continue", "-w", "%{http_code}"}, sum + "200"},
		{"upload in chunks", []string{"-T", file, url + "/drain", "-H", "Transfer-Encoding: chunked"}, sum},
		{"echo", []string{"--data-binary", "@" + file, url + "/echo", "-o", file + ".echo", "-w", "%{size_download}"}, fmt.Sprint(len(body))},
		{"absolute form, as to a forward proxy", []string{"-x", url, "http://example.test/"}, "hello from a\n"},
		{"pages of errors", []string{url + "/status/418", "-w", "%{http_code}"}, "status 418\n418"},
	} {
		t.Run(row.title, func(t *testing.T) {
			got := harness.Run(t, curl, append([]string{"-sS", "--noproxy", "", "--max-time", "30"}, row.args...)...)
			if got != row.want {
				t.Errorf("curl printed %q, want %q", got, row.want)
			}
		})
	}
	if echoed, err := os.ReadFile(file + ".echo"); err != nil || string(echoed) != string(body) {
		t.Errorf("the echo differs: %d bytes, %v", len(echoed), err)
	}
}

// Python's client is strict in other ways than Go's.
func TestPythonsHTTPClient(t *testing.T) {
	python := harness.Tool(t, "python3")
	harness.NoLeaks(t)
	p := harness.Start(t, one(harness.NewOrigin(t, "a")))
	const script = `
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], timeout=20)
def ask(method, path, **more):
    c.request(method, path, **more)
    r = c.getresponse()
    body = r.read()
    print(r.status, r.version, len(body), r.getheader("content-length"), r.getheader("transfer-encoding"), c.sock is not None)
ask("GET", "/")
ask("HEAD", "/bytes/100000")
ask("GET", "/bytes/100000")
ask("GET", "/chunked/100000")
ask("POST", "/drain", body=b"x" * 50000)
ask("POST", "/drain", body=iter([b"ab", b"cd"]), encode_chunked=True)
ask("GET", "/status/204")
ask("GET", "/status/304")
ask("GET", "/", headers={"Connection": "close"})
`
	got := harness.Run(t, python, "-c", script, p.Addr)
	want := strings.TrimPrefix(`
200 11 13 13 None True
200 11 0 100000 None True
200 11 100000 100000 None True
200 11 100000 None chunked True
200 11 15 15 None True
200 11 11 11 None True
204 11 0 None None True
304 11 0 11 None True
200 11 13 13 None False
`, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	p.WantStats(harness.Stats{"http.in.downstream_cx_total": 1, "http.in.downstream_rq_total": 9})
}

// net/http in its three ways of using connections, many at a time.
func TestNetHTTPConcurrently(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Loops = 2
	p := harness.Start(t, top)
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: harness.Patience}
	const workers, each = 32, 50
	errs := make(chan error, workers)
	for w := range workers {
		go func() {
			for i := range each {
				if err := exchange(client, p.Addr, w*each+i); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	p.WantStats(harness.Stats{"http.in.downstream_rq_2xx": workers * each, "http.in.downstream_rq_rx_reset": 0})
}

// exchange echoes a body that only this request can have.
func exchange(client *http.Client, addr string, n int) error {
	body := strings.Repeat(fmt.Sprintf("%d,", n), n%700)
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+addr+"/echo", strings.NewReader(body))
	if err != nil {
		return err
	}
	if n%3 == 0 {
		req.ContentLength = -1
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != body {
		return fmt.Errorf("request %d: %d bytes of %d, %w", n, len(got), len(body), err)
	}
	return nil
}

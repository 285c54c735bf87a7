package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// curl in its ways of speaking HTTP, which must all give the same bytes.
func TestCurlOverEachProtocol(t *testing.T) {
	curl := harness.Tool(t, "curl")
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, filler(3<<20+17), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		title   string
		down    wireKind
		option  string
		version string
	}{
		{"HTTP/1.1", overH1, "--http1.1", "1.1"},
		{"HTTP/1.1, though HTTP/2 was asked for by Upgrade", overH1, "--http2", "1.1"},
		{"HTTP/2 with prior knowledge", overH2C, "--http2-prior-knowledge", "2"},
		{"HTTP/1.1 over TLS", overH1TLS, "--http1.1", "1.1"},
		{"HTTP/2 by ALPN", overH2TLS, "--http2", "2"},
	} {
		for up := overH1; up <= overH2TLS; up++ {
			t.Run(row.title+" to "+up.String(), func(t *testing.T) {
				p := startSides(t, a, row.down, up, newHTTPOrigin(t, a, up, acceptHandler), nil)
				url, option := "http://"+p.Addr, []string{row.option}
				if row.down.secure() {
					_, port, _ := strings.Cut(p.Addr, ":")
					url = "https://" + acceptName + ":" + port
					option = append(option, "--cacert", a.File, "--resolve", acceptName+":"+port+":127.0.0.1")
				}
				for _, c := range []struct {
					args []string
					want string
				}{
					{[]string{url + "/bytes/5", "-w", " %{http_version} %{http_code} %{num_connects}"}, "01234 " + row.version + " 200 1"},
					{[]string{"-I", url + "/bytes/77", "-o", file + ".head", "-w", "%{http_code} %header{content-length} %{size_download}"}, "200 77 0"},
					{[]string{"-T", file, url + "/echo", "-o", file + ".echo", "-w", "%{http_code} %{size_download}"}, fmt.Sprint("200 ", 3<<20+17)},
					{[]string{url + "/status/404", "-w", "%{http_code}"}, "404"},
					{[]string{url + "/bytes/5", url + "/bytes/5", "-w", " %{num_connects} "}, "01234 1 01234 0 "},
				} {
					// curl 7.88 cannot use a connection of prior knowledge twice (curl issue 10634).
					if row.down == overH2C && c.args[0] == c.args[1] {
						continue
					}
					got := harness.Run(t, curl, append(append([]string{"-sS", "--noproxy", "*", "--max-time", "20"}, option...), c.args...)...)
					if got != c.want {
						t.Errorf("curl %q printed %q, want %q", c.args, got, c.want)
					}
				}
				if b, err := os.ReadFile(file + ".echo"); err != nil || string(b) != string(filler(3<<20+17)) {
					t.Errorf("the echo differs: %d bytes, %v", len(b), err)
				}
			})
		}
	}
}

// nghttp checks more of what it reads than most clients, and shows the frames.
func TestNghttp(t *testing.T) {
	nghttp := harness.Tool(t, "nghttp")
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	sides(t, func(t *testing.T, down, up wireKind) {
		if down.http2() {
			p := startSides(t, a, down, up, newHTTPOrigin(t, a, up, acceptHandler), nil)
			scheme := "http://"
			if down.secure() {
				scheme = "https://"
			}
			const requests, size = 20, 300_000
			out := harness.Run(t, nghttp, "-n", "-s", "-m", fmt.Sprint(requests), "--no-verify-peer", "-H", ":authority: "+acceptName, fmt.Sprintf("%s%s/bytes/%d", scheme, p.Addr, size))
			if n := len(regexp.MustCompile(`(?m)\s200\s+292K\s`).FindAllString(out, -1)); n != requests {
				t.Errorf("%d of %d answers:\n%s", n, requests, out)
			}
			p.WantStats(harness.Stats{inHTTP + "downstream_rq_2xx": requests, inHTTP + "downstream_cx_http2_total": 1, inHTTP + "downstream_rq_rx_reset": 0})
		}
	})
}

// h2load has ten connections with a hundred streams each, which are a thousand handshakes at once with an
// origin of HTTP/1 over TLS, and no request fails (HC-66, HC-75).
func TestH2Load(t *testing.T) {
	h2load := harness.Tool(t, "h2load")
	requests, many := 5000, "100"
	if raceEnabled { // which makes cryptography slow: so many handshakes would take longer than connect_timeout
		requests, many = 1000, "10"
	}
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	sides(t, func(t *testing.T, down, up wireKind) {
		p := startSides(t, a, down, up, newHTTPOrigin(t, a, up, acceptHandler), nil)
		scheme, streams := "http://", many
		args := []string{}
		if !down.http2() {
			args, streams = append(args, "--h1"), "1"
		}
		if down.secure() {
			scheme = "https://"
		}
		args = append(args, "-n", fmt.Sprint(requests), "-c", "10", "-m", streams, scheme+p.Addr+"/bytes/300")
		out := harness.Run(t, h2load, args...)
		want := fmt.Sprintf("requests: %d total, %[1]d started, %[1]d done, %[1]d succeeded, 0 failed, 0 errored, 0 timeout", requests)
		if !strings.Contains(out, want) {
			t.Errorf("%s", out)
		}
		p.WantStats(harness.Stats{
			inHTTP + "downstream_rq_2xx": int64(requests), inHTTP + "downstream_cx_total": 10, inHTTP + "downstream_rq_rx_reset": 0, onOrigin + "upstream_rq_200": int64(requests),
		})
	})
}

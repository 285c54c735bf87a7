package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// explicitProxy is a proxy for browsers and tools: absolute URIs and CONNECT, to wherever d says.
func explicitProxy(t testing.TB, d *harness.DNS, origins ...harness.Origin) *harness.Proxy {
	t.Helper()
	top := forwarding(dnsCache(d), origins...)
	top.Routes = connectRoute + "\n- match: { prefix: / }\n  route: { cluster: origin, upgrade_configs: [{ upgrade_type: websocket }] }"
	return harness.Start(t, top)
}

// noOwnProxy keeps tools from proxies that the environment names.
func noOwnProxy(t *testing.T) {
	t.Helper()
	for _, name := range []string{"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"} {
		t.Setenv(name, "")
	}
}

// curl through the proxy: absolute URIs, and CONNECT with what is in the tunnel, HTTP/2 too.
func TestForwardProxyCurl(t *testing.T) {
	curl := harness.Tool(t, "curl")
	noOwnProxy(t)
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	d.Set(acceptOrigin, "127.0.0.1")
	a := harness.NewAuthority(t)
	h := func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(r.URL.Query().Get("bytes")); err == nil {
			_, _ = w.Write(streamBytes(n))
			return
		}
		sum := sha256.New()
		n, _ := io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%s %s %d %x", r.Method, r.Host, n, sum.Sum(nil))
	}
	plain, secured, h2 := newHTTPOrigin(t, a, overH1, h), newHTTPOrigin(t, a, overH1TLS, h), newHTTPOrigin(t, a, overH2TLS, h)
	p := explicitProxy(t, d, plain, secured, h2)
	const size = 5_000_000
	sent := streamBytes(size)
	file, got := filepath.Join(t.TempDir(), "sent"), filepath.Join(t.TempDir(), "got")
	if err := os.WriteFile(file, sent, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		return harness.Run(t, curl, append([]string{"-sS", "--max-time", "60", "-x", "http://" + p.Addr, "--cacert", a.File}, args...)...)
	}
	for _, row := range []struct {
		name, url string
		args      []string
	}{
		{"absolute URI", "http://" + at(acceptOrigin, plain), nil},
		{"tunnel to http", "http://" + at(acceptOrigin, plain), []string{"-p"}},
		{"https", "https://" + at(acceptOrigin, secured), []string{"--http1.1"}},
		{"HTTP/2 in the tunnel", "https://" + at(acceptOrigin, h2), []string{"--http2"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			host := row.url[strings.LastIndexByte(row.url, '/')+1:]
			want := fmt.Sprintf("PUT %s %d %x", host, size, sha256.Sum256(sent))
			if out := run(append(row.args, "-T", file, row.url+"/up")...); out != want {
				t.Errorf("upload: %q, want %q", out, want)
			}
			run(append(row.args, "-o", got, row.url+"/?bytes="+strconv.Itoa(size))...)
			if b, err := os.ReadFile(got); err != nil || !bytes.Equal(b, sent) {
				t.Errorf("download: %d bytes, %v", len(b), err)
			}
			if out := run(append(row.args, row.url+"/a", row.url+"/b")...); strings.Count(out, "GET "+host+" 0 ") != 2 {
				t.Errorf("two of one connection: %q", out)
			}
		})
	}
	for _, url := range []string{"https://none.test", "https://" + at("two.test", secured)} {
		if out := harness.RunFailing(t, curl, "-sS", "--max-time", "60", "-x", "http://"+p.Addr, url); !strings.Contains(out, "503") {
			t.Errorf("%s: %s", url, out)
		}
	}
	if p.Stat("dns_cache.names.dns_query_attempt") != 5 { // a name at three ports, and two that do not exist
		t.Errorf("%d queries", p.Stat("dns_cache.names.dns_query_attempt"))
	}
}

// git through the proxy: a clone and a push over https by CONNECT, and over http.
func TestForwardProxyGit(t *testing.T) {
	git := harness.Tool(t, "git")
	noOwnProxy(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("GIT_TERMINAL_PROMPT", "0")
	t.Setenv("GIT_SSL_CAINFO", "") // to be put back
	_ = os.Unsetenv("GIT_SSL_CAINFO")
	harness.NoLeaks(t)
	root := t.TempDir()
	backend := filepath.Join(strings.TrimSpace(harness.Run(t, git, "--exec-path")), "git-http-backend")
	work, bare := filepath.Join(root, "work"), filepath.Join(root, "served", "repo.git")
	harness.Run(t, git, "init", "-q", "-b", "main", work)
	harness.Run(t, git, "init", "-q", "-b", "main", "--bare", bare)
	harness.Run(t, git, "-C", bare, "config", "http.receivepack", "true")
	commit := func(dir, name string, n int) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), tunnelBytes(n), 0o600); err != nil {
			t.Fatal(err)
		}
		harness.Run(t, git, "-C", dir, "add", name)
		harness.Run(t, git, "-C", dir, "-c", "user.name=one", "-c", "user.email=one@one.test", "commit", "-qm", name)
		return harness.Run(t, git, "-C", dir, "rev-parse", "HEAD")
	}
	commit(work, "first", 3<<20)
	head := commit(work, "second", 100)
	harness.Run(t, git, "-C", work, "push", "-q", bare, "main")

	d := harness.NewDNS(t)
	d.Set(acceptOrigin, "127.0.0.1")
	a := harness.NewAuthority(t)
	h := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(bare), "GIT_HTTP_EXPORT_ALL=1"}}
	plain, secured := newHTTPOrigin(t, a, overH1, h.ServeHTTP), newHTTPOrigin(t, a, overH1TLS, h.ServeHTTP)
	p := explicitProxy(t, d, plain, secured)
	options := []string{"-c", "http.proxy=http://" + p.Addr, "-c", "http.sslCAInfo=" + a.File, "-c", "core.autocrlf=false"}
	for i, url := range []string{"https://" + at(acceptOrigin, secured), "http://" + at(acceptOrigin, plain)} {
		clone := filepath.Join(root, fmt.Sprint("clone", i))
		harness.Run(t, git, append(options, "clone", "-q", url+"/repo.git", clone)...)
		if got := harness.Run(t, git, "-C", clone, "rev-parse", "HEAD"); got != head {
			t.Errorf("%s: cloned %s, want %s", url, got, head)
		}
		harness.Run(t, git, "-C", clone, "fsck", "--strict")
		head = commit(clone, fmt.Sprint("third", i), 2<<20)
		harness.Run(t, git, append(options, "-C", clone, "push", "-q", "origin", "main")...)
		if got := harness.Run(t, git, "-C", bare, "rev-parse", "main"); got != head {
			t.Errorf("%s: pushed %s, want %s", url, got, head)
		}
	}
	harness.Run(t, git, "-C", bare, "fsck", "--strict")
	if p.Stat("http.in.downstream_cx_upgrades_total") == 0 {
		t.Error("no CONNECT")
	}
}

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// talkPage talks to the server it comes from over two WebSockets, and tells what became of them: in the page,
// and by a request, so that the picture comes and the page is complete.
const talkPage = `<!doctype html><title>talk</title><div id="result"></div><img src="/told">
<script>
const to = location.origin.replace(/^http/, 'ws'), size = 3000000;
function open(path) {
  const s = new WebSocket(to + path, ['chat']);
  s.binaryType = 'arraybuffer';
  s.over = new Promise(done => s.onclose = e => done(e.code + '/' + e.reason + '/' + e.wasClean));
  s.ready = new Promise(done => s.onopen = done);
  s.next = () => new Promise(done => s.onmessage = e => done(e.data));
  return s;
}
async function ask(s, message) { s.send(message); return await s.next(); }
async function talk() {
  const said = [location.protocol, performance.getEntriesByType('navigation')[0].nextHopProtocol];
  const one = open('/echo');
  await one.ready;
  said.push(one.protocol, one.extensions.split(';')[0]);
  said.push(await ask(one, 'gr\u00fc\u00dfe'));
  const big = new Uint8Array(size).map((_, i) => i * i >> 3), back = new Uint8Array(await ask(one, big));
  said.push(back.length === size && back.every((b, i) => b === big[i]) ? 'same' : 'other bytes');
  one.close(4321, 'mine');
  said.push(await one.over);
  const two = open('/close');
  said.push(await two.over);
  return said.join(' ');
}
talk().catch(e => 'failed: ' + e).then(text => {
  document.getElementById('result').textContent = text;
  return fetch('/tell', {method: 'POST', body: text});
});
</script>`

// talkOrigin serves the page and its WebSockets. closed gets the code and the reason the page closed with.
func talkOrigin(t *testing.T, a *harness.Authority, kind wireKind) (o *httpOrigin, closed chan string) {
	t.Helper()
	told, closed := make(chan struct{}), make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, talkPage)
	})
	mux.HandleFunc("/tell", func(http.ResponseWriter, *http.Request) { close(told) })
	mux.HandleFunc("/told", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-told:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusNotFound)
	})
	up := gorilla.Upgrader{EnableCompression: true, Subprotocols: []string{"chat"}}
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, p, err := c.ReadMessage()
			if err != nil {
				closed <- err.Error()
				return
			}
			if c.WriteMessage(kind, p) != nil {
				return
			}
		}
	})
	mux.HandleFunc("/close", func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4001, "enough"), time.Now().Add(harness.Patience))
		_, _, _ = c.ReadMessage()
	})
	return newHTTPOrigin(t, a, kind, mux.ServeHTTP), closed
}

var resultOf = regexp.MustCompile(`<div id="result">([^<]*)</div>`)

// browse has headless Chromium load a page to its end, and returns what the page tells.
func browse(t *testing.T, chromium, url string, args ...string) string {
	t.Helper()
	noOwnProxy(t)
	// The browser's processes may outlive the first of them by a moment, and write.
	dir, err := os.MkdirTemp("", "browser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		harness.Eventually(t, "the browser's directory to go", func() bool { return os.RemoveAll(dir) == nil })
	})
	t.Setenv("HOME", dir)
	args = append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--user-data-dir=" + dir,
		"--ignore-certificate-errors", // it does not know the test's authority
		"--dump-dom",
	}, args...)
	dom := harness.Run(t, chromium, append(args, url)...)
	m := resultOf.FindStringSubmatch(dom)
	if m == nil {
		t.Fatalf("no result:\n%s", dom)
	}
	return m[1]
}

func wantTalk(t *testing.T, closed chan string, got, scheme, protocol string) {
	t.Helper()
	want := fmt.Sprintf("%s: %s chat permessage-deflate gr\u00fc\u00dfe same 4321//true 4001/enough/true", scheme, protocol)
	if got != want {
		t.Errorf("the page tells\n\t%s\nwant\n\t%s", got, want)
	}
	select {
	case by := <-closed:
		if !strings.Contains(by, "4321") || !strings.Contains(by, "mine") {
			t.Errorf("the page closed with %s", by)
		}
	case <-time.After(harness.Patience):
		t.Error("the page did not close its socket")
	}
}

// A page talks through WebSockets over HTTP/1 and HTTP/2 (RFC 8441), plain and with TLS, compressed and with
// close codes of both sides.
func TestUP10Browser(t *testing.T) {
	chromium := harness.Tool(t, "chromium")
	for _, row := range []struct{ chain, secure, scheme, protocol string }{
		{"11", "--", "http", "http/1.1"}, {"11", "s-", "https", "http/1.1"}, {"21", "s-", "https", "h2"}, {"221", "s--", "https", "h2"}, {"121", "---", "http", "http/1.1"}, {"121", "s--", "https", "http/1.1"},
	} {
		t.Run(row.chain+" "+row.secure, func(t *testing.T) {
			harness.NoLeaks(t)
			a := harness.NewAuthority(t)
			o, closed := talkOrigin(t, a, overH1)
			all := secureChain(t, a, row.chain, row.secure, webSocketOn, o)
			url := row.scheme + "://" + at(acceptName, asOrigin{all[0]}) + "/"
			wantTalk(t, closed, browse(t, chromium, url, "--host-resolver-rules=MAP "+acceptName+" 127.0.0.1"), row.scheme, row.protocol)
			for i, p := range all {
				if h1 := p.Stat("http.in.downstream_cx_http1_total"); row.chain[i] == '2' && h1 != 0 {
					t.Errorf("hop %d: %d connections by HTTP/1", i, h1)
				}
				if got := p.Stat("http.in.downstream_cx_upgrades_total"); got != 2 {
					t.Errorf("hop %d: %d upgrades, want 2", i, got)
				}
			}
		})
	}
}

// The same through an explicit proxy: the page by an absolute URI, or in a tunnel; WebSockets always in one.
func TestForwardProxyBrowser(t *testing.T) {
	chromium := harness.Tool(t, "chromium")
	for _, row := range []struct {
		scheme string
		kind   wireKind
	}{{"http", overH1}, {"https", overH1TLS}} {
		t.Run(row.scheme, func(t *testing.T) {
			harness.NoLeaks(t)
			d := harness.NewDNS(t)
			d.Set(acceptOrigin, "127.0.0.1")
			o, closed := talkOrigin(t, harness.NewAuthority(t), row.kind)
			p := explicitProxy(t, d, o)
			got := browse(t, chromium, row.scheme+"://"+at(acceptOrigin, o)+"/", "--proxy-server=http://"+p.Addr)
			wantTalk(t, closed, got, row.scheme, "http/1.1")
			if n := p.Stat("http.in.downstream_cx_upgrades_total"); n < 2 {
				t.Errorf("%d tunnels", n)
			}
			if row.scheme == "http" {
				harness.Eventually(t, "the page, outside of tunnels", func() bool { return slices.Contains(p.Lines(), "200 - via_upstream GET /") })
			}
		})
	}
}

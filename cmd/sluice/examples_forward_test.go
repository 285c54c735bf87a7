package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// The proxy takes a client to http origins by absolute URI and to https ones by CONNECT; it does not go inside.
func TestExampleForwardProxy(t *testing.T) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello "+r.Host) })
	plain, secured := httptest.NewServer(hello), httptest.NewTLSServer(hello)
	defer plain.Close()
	defer secured.Close()
	port := func(s *httptest.Server) string {
		_, p, _ := net.SplitHostPort(s.Listener.Addr().String())
		return p
	}
	ask := func(e *example, to string) (*http.Response, string, error) {
		proxy := &url.URL{Scheme: "http", Host: e.addr}
		tr := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get(to)
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp, string(body), err
	}
	// The origins of this test are on this machine, and not at port 443.
	const loopback, elsewhere = "127.0.0.0, prefix_len: 8", "192.0.2.0, prefix_len: 24"
	// Each on a port of its own: two on the example's would share its connections out between them.
	const fixed, anyPort = "address: 127.0.0.1, port_value: 10000", "address: 0.0.0.0, port_value: 10000"
	open := runExample(t, "forward-proxy.yaml", fixed, anyPort, loopback, elsewhere, `suffix: ":443"`, `suffix: ":`+port(secured)+`"`)
	for _, to := range []string{"http://localhost:" + port(plain), "https://localhost:" + port(secured)} {
		for range 2 {
			resp, body, err := ask(open, to)
			if err != nil || resp.StatusCode != 200 || body != "hello "+to[strings.LastIndexByte(to, '/')+1:] {
				t.Errorf("%s: %v %q %v", to, resp, body, err)
			}
		}
	}
	if _, _, err := ask(open, "https://localhost:"+port(plain)); err == nil || !strings.Contains(err.Error(), "Not Found") {
		t.Errorf("a tunnel to another port: %v", err)
	}
	closed := runExample(t, "forward-proxy.yaml", fixed, anyPort)
	for _, to := range []string{"http://localhost:" + port(plain), "http://127.0.0.1:9901", "http://169.254.169.254", "http://[::1]:9901", "http://10.1.2.3", "http://[::ffff:127.0.0.1]:9901"} {
		if resp, body, err := ask(closed, to); err != nil || resp.StatusCode != 503 || body != "DNS resolution failure" {
			t.Errorf("%s: %v %q %v", to, resp, body, err)
		}
	}
}

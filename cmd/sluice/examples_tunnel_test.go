package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
)

func TestExampleWebSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := gorilla.Upgrader{}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		kind, p, err := c.ReadMessage()
		if err == nil {
			_ = c.WriteMessage(kind, append(p, '!'))
		}
	})}
	go o.Serve(l)
	defer o.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	e := runExample(t, "websocket.yaml", "port_value: 9000", "port_value: "+port)
	c, _, err := gorilla.DefaultDialer.Dial("ws://"+e.addr+"/chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_ = c.WriteMessage(gorilla.TextMessage, []byte("hello"))
	if _, p, err := c.ReadMessage(); err != nil || string(p) != "hello!" {
		t.Errorf("%q, %v", p, err)
	}
	if _, resp, err := gorilla.DefaultDialer.Dial("ws://"+e.addr+"/other", nil); err == nil || resp == nil || resp.StatusCode != 403 {
		t.Errorf("an upgrade that is not allowed: %v, %v", resp, err)
	}
}

// The proxy reaches what its file names and nothing else, whatever a client asks for.
func TestExampleConnectProxy(t *testing.T) {
	e := runExample(t, "connect-proxy.yaml", "port_value: 9000", newOrigin(t, "far"))
	ask := func(target string) (*http.Response, net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
		if err != nil {
			t.Fatal(err)
		}
		return resp, c, r
	}
	resp, c, r := ask("app.internal:9000")
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: app.internal:9000\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body[:14]) != "hello from far" {
		t.Errorf("%q", body)
	}
	for _, target := range []string{"app.internal:22", "127.0.0.1:9901", "169.254.169.254:80", "other.example:443"} {
		if resp, _, _ := ask(target); resp.StatusCode != 404 {
			t.Errorf("%s: %s", target, resp.Status)
		}
	}
	if status, _, _ := e.get("app.internal:9000", "/"); status != 404 {
		t.Errorf("a request that is no CONNECT: %d", status)
	}
}

func TestExampleTCPOverHTTP2(t *testing.T) {
	e := runExample(t, "tcp-over-http2.yaml", "port_value: 9000", newOrigin(t, "far"), "sluice-far-end.sock", filepath.Join(t.TempDir(), "far"))
	for range 3 {
		if status, _, body := e.get("x", "/"); status != 200 || body[:14] != "hello from far" {
			t.Errorf("%d %q", status, body)
		}
		e.client.CloseIdleConnections()
	}
	for _, c := range e.server.Registry().Collect().Counters {
		if c.Name == "cluster.far_end.upstream_cx_total" && c.Value != 1 {
			t.Errorf("%d connections between the two ends", c.Value)
		}
	}
}

// UP-63: from listener to listener without sockets, through a tunnel that ends between them.
func TestExampleInternalListener(t *testing.T) {
	e := runExample(t, "internal-listener.yaml", "port_value: 9000", newOrigin(t, "far"), "sluice-far-end.sock", filepath.Join(t.TempDir(), "far"))
	for range 3 {
		if status, _, body := e.get("x", "/"); status != 200 || body[:14] != "hello from far" {
			t.Errorf("%d %q", status, body)
		}
		e.client.CloseIdleConnections()
	}
	if status, _, _ := e.get("x", "/private/a"); status != 403 {
		t.Errorf("the route of the far end: %d", status)
	}
	want := map[string]uint64{
		"listener.envoy_internal_encapsulate.downstream_cx_total": 1, "listener.envoy_internal_inside.downstream_cx_total": 1,
		"http.inside.downstream_rq_total": 4, "http.far.downstream_rq_total": 1,
	}
	for _, c := range e.server.Registry().Collect().Counters {
		if v, ok := want[c.Name]; ok {
			if delete(want, c.Name); c.Value != v {
				t.Errorf("%s is %d, want %d", c.Name, c.Value, v)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("no stats %v", want)
	}
}

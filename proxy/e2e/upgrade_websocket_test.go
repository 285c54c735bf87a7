package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// webSocketServer echoes messages, by one of two libraries. /close closes with 4001 and a reason.
func webSocketServer(t *testing.T, a *harness.Authority, s wireKind, byGorilla bool) harness.Origin {
	return newHTTPOrigin(t, a, s, func(w http.ResponseWriter, r *http.Request) {
		if byGorilla {
			up := gorilla.Upgrader{EnableCompression: true, CheckOrigin: func(*http.Request) bool { return true }}
			c, err := up.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer c.Close()
			if r.URL.Path == "/close" {
				_ = c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4001, "enough"), time.Now().Add(harness.Patience))
				_, _, _ = c.ReadMessage()
				return
			}
			for {
				kind, p, err := c.ReadMessage()
				if err != nil {
					return
				}
				if c.WriteMessage(kind, p) != nil {
					return
				}
			}
		}
		c, err := coder.Accept(w, r, &coder.AcceptOptions{CompressionMode: coder.CompressionContextTakeover, InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		if r.URL.Path == "/close" {
			_ = c.Close(4001, "enough")
			return
		}
		c.SetReadLimit(64 << 20)
		for {
			kind, p, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if c.Write(r.Context(), kind, p) != nil {
				return
			}
		}
	})
}

// Two libraries talk to each other through every pair of HTTP/1 and HTTP/2: small messages, one of
// 16 MiB, compression, pings, and close codes from either side.
func TestUP10WebSocketThroughEveryPair(t *testing.T) {
	for _, chain := range chains {
		for _, byGorilla := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s gorilla %v", chain, byGorilla), func(t *testing.T) {
				all := webSocketChain(t, chain, webSocketOn, webSocketServer(t, nil, overH1, byGorilla))
				talkWebSocket(t, byGorilla, "ws://"+all[0].Addr, nil, all)
			})
		}
	}
}

// The same with TLS: on every connection, and on every other one, so that each pair has it on both sides, on the
// client's only, and on the server's only.
func TestUP10SecureWebSocketThroughEveryPair(t *testing.T) {
	a := harness.NewAuthority(t)
	for _, row := range []struct{ chain, secure string }{
		{"11", "ss"}, {"11", "s-"}, {"11", "-s"},
		{"121", "sss"}, {"121", "s-s"}, {"121", "-s-"},
		{"1221", "ssss"}, {"1221", "s-s-"}, {"1221", "-s-s"},
	} {
		for _, byGorilla := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %s gorilla %v", row.chain, row.secure, byGorilla), func(t *testing.T) {
				kind, scheme := overH1, "ws://"
				if row.secure[len(row.secure)-1] == 's' {
					kind = overH1TLS
				}
				if row.secure[0] == 's' {
					scheme = "wss://"
				}
				all := secureChain(t, a, row.chain, row.secure, webSocketOn, webSocketServer(t, a, kind, byGorilla))
				talkWebSocket(t, byGorilla, scheme+all[0].Addr, a.Client(acceptName), all)
			})
		}
	}
}

// talkWebSocket has the other library than the server's talk through the proxies, and wants them at rest afterwards.
func talkWebSocket(t *testing.T, byGorilla bool, url string, c *tls.Config, all []*harness.Proxy) {
	t.Helper()
	if byGorilla {
		talkCoder(t, url, c)
	} else {
		talkGorilla(t, url, c)
	}
	for _, p := range all {
		harness.Eventually(t, "the tunnels to end", func() bool { return p.Stat("http.in.downstream_cx_upgrades_active") == 0 })
		if got := p.Stat("http.in.downstream_cx_upgrades_total"); got != 2 {
			t.Errorf("%d upgrades, want 2", got)
		}
	}
}

func bigMessage() []byte {
	b := make([]byte, 16<<20)
	for i := range b {
		b[i] = byte(i * i >> 7)
	}
	return b
}

func talkCoder(t *testing.T, url string, config *tls.Config) {
	tr := &http.Transport{TLSClientConfig: config}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 3*harness.Patience)
	defer cancel()
	dial := func(path string) *coder.Conn {
		c, resp, err := coder.Dial(ctx, url+path, &coder.DialOptions{HTTPClient: &http.Client{Transport: tr}, CompressionMode: coder.CompressionContextTakeover})
		if err != nil {
			t.Fatal(err)
		}
		wantCompression(t, resp)
		c.SetReadLimit(64 << 20)
		return c
	}
	c := dial("/echo")
	big := bigMessage()
	for _, text := range [][]byte{[]byte("small"), bytes.Repeat([]byte("squeezable "), 10000), big} {
		errs := make(chan error, 1)
		go func() { errs <- c.Write(ctx, coder.MessageBinary, text) }()
		_, got, err := c.Read(ctx)
		if err != nil || sha256.Sum256(got) != sha256.Sum256(text) {
			t.Fatalf("%d bytes came back of %d: %v", len(got), len(text), err)
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	pong := make(chan error, 1)
	go func() { pong <- c.Ping(ctx) }()
	read := make(chan error, 1)
	go func() { _, _, err := c.Read(ctx); read <- err }()
	if err := <-pong; err != nil {
		t.Errorf("ping: %v", err)
	}
	_ = c.Close(4002, "bye")
	<-read
	c = dial("/close")
	_, _, err := c.Read(ctx)
	if code := coder.CloseStatus(err); code != 4001 {
		t.Errorf("close code %d, %v", code, err)
	}
	_ = c.CloseNow()
}

// wantCompression wants both libraries to have agreed on it.
func wantCompression(t *testing.T, resp *http.Response) {
	t.Helper()
	if got := resp.Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
		t.Errorf("extensions %q", got)
	}
}

func talkGorilla(t *testing.T, url string, config *tls.Config) {
	d := gorilla.Dialer{EnableCompression: true, TLSClientConfig: config, HandshakeTimeout: harness.Patience}
	dial := func(path string) *gorilla.Conn {
		c, resp, err := d.Dial(url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantCompression(t, resp)
		_ = c.SetReadDeadline(time.Now().Add(3 * harness.Patience))
		return c
	}
	c := dial("/echo")
	for _, text := range [][]byte{[]byte("small"), bytes.Repeat([]byte("squeezable "), 10000), bigMessage()} {
		errs := make(chan error, 1)
		go func() { errs <- c.WriteMessage(gorilla.BinaryMessage, text) }()
		_, got, err := c.ReadMessage()
		if err != nil || sha256.Sum256(got) != sha256.Sum256(text) {
			t.Fatalf("%d bytes came back of %d: %v", len(got), len(text), err)
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	pong := false
	c.SetPongHandler(func(string) error { pong = true; return nil })
	_ = c.WriteControl(gorilla.PingMessage, []byte("p"), time.Now().Add(harness.Patience))
	_ = c.WriteMessage(gorilla.TextMessage, []byte("after"))
	if _, got, err := c.ReadMessage(); err != nil || string(got) != "after" || !pong {
		t.Errorf("%q, %v, pong %v", got, err, pong)
	}
	_ = c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4002, "bye"), time.Now().Add(harness.Patience))
	if _, _, err := c.ReadMessage(); !gorilla.IsCloseError(err, 4002) {
		t.Errorf("after the close: %v", err)
	}
	_ = c.Close()
	c = dial("/close")
	if _, _, err := c.ReadMessage(); !gorilla.IsCloseError(err, 4001) {
		t.Errorf("close code: %v", err)
	}
	_ = c.Close()
}

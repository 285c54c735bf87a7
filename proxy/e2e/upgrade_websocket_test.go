package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// webSocketServer echoes messages, by one of two libraries. /close closes with 4001 and a reason.
func webSocketServer(t *testing.T, byGorilla bool) harness.Origin {
	return newHTTPOrigin(t, nil, overH1, func(w http.ResponseWriter, r *http.Request) {
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
			name := chain + " coder"
			if byGorilla {
				name = chain + " gorilla"
			}
			t.Run(name, func(t *testing.T) {
				o := webSocketServer(t, byGorilla)
				all := webSocketChain(t, chain, webSocketOn, o)
				if byGorilla {
					talkCoder(t, all[0].Addr)
				} else {
					talkGorilla(t, all[0].Addr)
				}
				for _, p := range all {
					harness.Eventually(t, "the tunnels to end", func() bool { return p.Stat("http.in.downstream_cx_upgrades_active") == 0 })
					if got := p.Stat("http.in.downstream_cx_upgrades_total"); got != 2 {
						t.Errorf("%d upgrades, want 2", got)
					}
				}
			})
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

func talkCoder(t *testing.T, addr string) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*harness.Patience)
	defer cancel()
	dial := func(path string) *coder.Conn {
		c, _, err := coder.Dial(ctx, "ws://"+addr+path, &coder.DialOptions{CompressionMode: coder.CompressionContextTakeover})
		if err != nil {
			t.Fatal(err)
		}
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

func talkGorilla(t *testing.T, addr string) {
	d := gorilla.Dialer{EnableCompression: true, HandshakeTimeout: harness.Patience}
	dial := func(path string) *gorilla.Conn {
		c, _, err := d.Dial("ws://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
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

var _ io.Reader

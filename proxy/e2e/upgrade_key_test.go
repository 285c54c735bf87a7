package e2e

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// UP-10, RFC 8441 5: a client by HTTP/2 has no key, which a server by HTTP/1 wants; the answer to the proxy's own
// stays here, and must be right.
func TestUP10KeysOfWebSocket(t *testing.T) {
	for _, row := range []struct{ accept, want string }{
		{"", "head 1 200"}, {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "head 1 502"},
	} {
		answer := switching("websocket")
		if row.accept != "" {
			answer = strings.Replace(answer, "\r\n\r\n", "\r\nSec-WebSocket-Accept: "+row.accept+"\r\n\r\n", 1)
		}
		o, heads := upgradeOrigin(t, answer)
		p := hop(t, o, false, webSocketOn+h2Connect, "")
		w := dialH2(t, p)
		w.request(1, false, "CONNECT", "/path", ":protocol=websocket")
		head := strings.ToLower(<-heads)
		_, key, _ := strings.Cut(head, "sec-websocket-key: ")
		key, _, _ = strings.Cut(key, "\r\n")
		if nonce, err := base64.StdEncoding.DecodeString(key); len(key) != 24 || strings.Count(head, "sec-websocket-key") != 1 {
			t.Errorf("key %q: %d bytes, %v", key, len(nonce), err)
		}
		if got := w.next(); !strings.HasPrefix(got, row.want) || strings.Contains(got, "sec-websocket-accept") {
			t.Errorf("got %s, want %s", got, row.want)
		}
		_ = w.Conn.Close()
	}
}

// The other way round: a client by HTTP/1 gets the answer to its key though the server by HTTP/2 has none.
func TestUP11KeysOfWebSocket(t *testing.T) {
	o, _ := upgradeOrigin(t, switching("websocket"))
	all := webSocketChain(t, "121", webSocketOn, o)
	w := harness.DialWire(t, "tcp", all[0].Addr)
	w.Send(askUpgrade("websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
	if m := w.ReadHead(); m.Status() != 101 || m.Get("sec-websocket-accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("%s", m.Head())
	}
	wantEcho(t, w.Conn, w.In, "bytes")
	w.Close()
}

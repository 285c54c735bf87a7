package http1

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

func TestStripHopByHop(t *testing.T) {
	ten := "a, b, c, d, e, f, g, h, i, j"
	tests := []struct {
		name        string
		fields      string
		response    bool
		keepUpgrade bool
		want        string
		e           Err
	}{
		{"RT-102 the fixed list", "Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTransfer-Encoding: chunked\r\nUpgrade: a\r\nHTTP2-Settings: b\r\nAccept: c\r\n", false, false, "[Accept=c]", OK},
		{"RT-102 without Connection", "Keep-Alive: 5\r\nUpgrade: a\r\nAccept: c\r\n", false, false, "[Accept=c]", OK},
		{"HC-35 nominated fields go, in any case and place", "X-A: 1\r\nConnection: close, x-a\r\nx-a: 2\r\nConnection: ACCEPT,,\r\nAccept: c\r\nB: 3\r\n", false, false, "[B=3]", OK},
		{"HC-35 nominating the framing does not matter to it", "Connection: content-length\r\nContent-Length: 5\r\n", false, false, "", OK},
		{"HC-35 nominating Host does not lose it", "Connection: host\r\n", false, false, "", OK},
		{"HC-35 nine options", "Connection: a, b, c, d, e, f, g, h, i\r\nA: 1\r\nZ: 2\r\n", false, false, "[Z=2]", OK},
		{"HC-35 ten options", "Connection: " + ten + "\r\n", false, false, "", ErrConnectionHeader},
		{"HC-35 ten options in ten fields", strings.Repeat("Connection: keep-alive\r\n", 10), false, false, "", ErrConnectionHeader},
		{"HC-35 empty elements are no options", "Connection: ,,,,,,,,,,,,a\r\n", false, false, "", OK},
		{"HC-35 a response is only stripped", "Connection: " + ten + ", x-forwarded-for\r\nX-Forwarded-For: 1\r\nA: 1\r\nZ: 2\r\nContent-Length: 0\r\n", true, false, "[Z=2][Content-Length=0]", OK},
		{"HC-35 x-forwarded-for", "Connection: X-Forwarded-For\r\n", false, false, "", ErrConnectionHeader},
		{"HC-35 x-forwarded-host", "Connection: close,x-forwarded-host\r\n", false, false, "", ErrConnectionHeader},
		{"HC-35 x-forwarded-proto", "Connection: x-forwarded-proto\r\n", false, false, "", ErrConnectionHeader},
		{"HC-35 a pseudo-header", "Connection: :path\r\n", false, false, "", ErrConnectionHeader},
		{"HC-35 TE reduced to trailers", "TE: gzip;q=0.5, Trailers\r\n", false, false, "[TE=trailers]", OK},
		{"HC-35 TE in two fields", "TE: gzip\r\nTE: trailers\r\n", false, false, "[TE=trailers]", OK},
		{"HC-35 TE without trailers", "TE: gzip, trailers;q=1\r\n", false, false, "", OK},
		{"HC-35 TE nominated and short", "Connection: TE\r\nTE: trailers\r\n", false, false, "[TE=trailers]", OK},
		{"HC-35 TE nominated and of 255 bytes", "Connection: TE\r\nTE: " + strings.Repeat("a", 255) + "\r\n", false, false, "", OK},
		{"HC-35 TE nominated and of 256 bytes", "Connection: TE\r\nTE: " + strings.Repeat("a", 256) + "\r\n", false, false, "", ErrConnectionHeader},
		{"UP-3 an upgrade keeps both", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", false, true, "[Connection=keep-alive, Upgrade][Upgrade=websocket]", OK},
		{"UP-3 other options leave Connection", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n", false, true, "[Connection=upgrade][Upgrade=h2c]", OK},
		{"UP-3 two Connection fields become one", "Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", false, true, "[Connection=upgrade][Upgrade=websocket]", OK},
		{"UP-3 no Upgrade field, nothing to keep", "Connection: Upgrade\r\n", false, true, "", OK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h header.Head
			in, o := "GET / HTTP/1.1\r\nHost: x\r\n"+tt.fields+"\r\n", DefaultOptions()
			n, e := ParseRequest(exact(in), 0, &o, &h)
			if tt.response {
				in = "HTTP/1.1 200 OK\r\n" + tt.fields + "\r\n"
				n, e = ParseResponse(exact(in), 0, &o, forGet, &h)
			}
			if n != len(in) {
				t.Fatalf("not parsed: %q", e.Explain())
			}
			transfer, length := h.Transfer, h.ContentLength
			if e := StripHopByHop(&h, !tt.response, tt.keepUpgrade); e != tt.e {
				t.Fatalf("%q, want %q", e.Explain(), tt.e.Explain())
			}
			if got := fieldsOf(&h); tt.e == OK && got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
			if h.Transfer != transfer || h.ContentLength != length {
				t.Error("the framing was touched")
			}
		})
	}
}

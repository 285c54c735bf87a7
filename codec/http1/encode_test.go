package http1

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

func TestAppendRequestHead(t *testing.T) {
	const get = "GET /a?b HTTP/1.1\r\nHOST: h:1\r\nAccept: */*\r\nX-One: 1\r\n\r\n"
	post := func(fields string) string { return "POST / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" }
	upgrade := "GET / HTTP/1.1\r\nHost: h\r\nCONNECTION: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	tests := []struct {
		name string
		in   string
		f    Framing
		want string
	}{
		{"HC-54 origin form and Host from the authority", get, Framing{}, "GET /a?b HTTP/1.1\r\nhost: h:1\r\naccept: */*\r\nx-one: 1\r\n\r\n"},
		{"HC-52 proper case", get, Framing{Case: ProperCase}, "GET /a?b HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\nX-One: 1\r\n\r\n"},
		{"HC-52 preserve case", get, Framing{Case: PreserveCase}, "GET /a?b HTTP/1.1\r\nHOST: h:1\r\nAccept: */*\r\nX-One: 1\r\n\r\n"},
		{"HC-52 what was not received is in lower case", post(""), Framing{Case: PreserveCase, Transfer: header.Chunked}, "POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: chunked\r\n\r\n"},
		{"HC-52 the framing field keeps its case too", post("CONTENT-length: 5\r\n"), Framing{Case: PreserveCase, Transfer: header.Length, Length: 5}, "POST / HTTP/1.1\r\nHost: h\r\nCONTENT-length: 5\r\n\r\n"},
		{"RT-123 send_fully_qualified_url", get, Framing{FullURL: true}, "GET http://h:1/a?b HTTP/1.1\r\nhost: h:1\r\naccept: */*\r\nx-one: 1\r\n\r\n"},
		{"RT-123 with the scheme received", "GET https://h HTTP/1.1\r\nHost: x\r\n\r\n", Framing{FullURL: true}, "GET https://h/ HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"RT-123 asterisk has no path then", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", Framing{FullURL: true}, "OPTIONS http://h HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"asterisk form", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", Framing{}, "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"UP-40 CONNECT", "CONNECT h:1 HTTP/1.1\r\nHost: x\r\n\r\n", Framing{Transfer: header.Tunnel, FullURL: true}, "CONNECT h:1 HTTP/1.1\r\nhost: h:1\r\n\r\n"},
		{"HTTP/1.0", get, Framing{Version: header.HTTP10, ConnectionKeepAlive: true}, "GET /a?b HTTP/1.0\r\nhost: h:1\r\naccept: */*\r\nx-one: 1\r\nconnection: keep-alive\r\n\r\n"},
		{"HC-53 framing comes from the caller, not the fields", post("Content-Length: 5\r\n"), Framing{Transfer: header.Chunked}, "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"},
		{"HC-53 one length, from the caller", post("Transfer-Encoding: chunked\r\n"), Framing{Transfer: header.Length, Length: 7}, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\r\n"},
		{"HC-53 POST without a body says so", post(""), Framing{Length: -1}, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"},
		{"HC-53 GET without a body need not", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", Framing{}, "GET / HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"connection: close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, x\r\n\r\n", Framing{ConnectionClose: true}, "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"},
		{"UP-3 an upgrade in the words received", upgrade, Framing{Transfer: header.Tunnel, Upgrade: true}, "GET / HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n"},
		{"UP-17 an upgrade that declares a length", upgrade, Framing{Transfer: header.Length, Length: 7, Upgrade: true}, "GET / HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: Upgrade\r\ncontent-length: 7\r\n\r\n"},
		{"an upgrade whose Connection is not one", "GET / HTTP/1.1\r\nHost: h\r\nConnection: x\r\nUpgrade: a\r\n\r\n", Framing{Transfer: header.Tunnel, Upgrade: true}, "GET / HTTP/1.1\r\nhost: h\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n"},
		{"TE is nominated", "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n", Framing{}, "GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\n\r\n"},
		{"TE is nominated beside close", "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n", Framing{ConnectionClose: true}, "GET / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: close, te\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h header.Head
			o := DefaultOptions()
			if n, e := ParseRequest(exact(tt.in), 0, &o, &h); n == 0 {
				t.Fatal(e.Explain())
			}
			if got := string(AppendRequestHead(nil, &h, tt.f)); got != tt.want {
				t.Errorf("\n got %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestRequestMadeFromNothing(t *testing.T) {
	var h header.Head
	h.Reset(nil)
	h.Method = header.MethodPut
	h.SetAuthority([]byte("h"))
	h.AddString(header.Unknown, "x-made", "1")
	h.AddString(header.Host, "", "other") // the authority alone says
	want := "PUT / HTTP/1.1\r\nhost: h\r\nx-made: 1\r\ncontent-length: 0\r\n\r\n"
	if got := string(AppendRequestHead(nil, &h, Framing{})); got != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

func TestAppendResponseHead(t *testing.T) {
	ok := "HTTP/1.1 200 Fine\r\nX-One: 1\r\n\r\n"
	tests := []struct {
		name string
		in   string
		req  RequestInfo
		f    Framing
		want string
	}{
		{"HC-51 the phrase from the table", ok, forGet, Framing{Transfer: header.Length, Length: 5}, "HTTP/1.1 200 OK\r\nx-one: 1\r\ncontent-length: 5\r\n\r\n"},
		{"HC-51 the phrase received", ok, forGet, Framing{Transfer: header.Length, Length: 5, KeepReason: true}, "HTTP/1.1 200 Fine\r\nx-one: 1\r\ncontent-length: 5\r\n\r\n"},
		{"HC-51 no phrase received", "HTTP/1.1 404\r\n\r\n", forGet, Framing{KeepReason: true}, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"},
		{"HC-51 a status without a phrase", "HTTP/1.1 299 X\r\n\r\n", forGet, Framing{}, "HTTP/1.1 299 Unknown\r\ncontent-length: 0\r\n\r\n"},
		{"HC-51 a status over 599", "HTTP/1.1 999 X\r\n\r\n", forGet, Framing{}, "HTTP/1.1 999 Unknown\r\ncontent-length: 0\r\n\r\n"},
		{"HC-46 chunked for HTTP/1.1", ok, forGet, Framing{Transfer: header.Chunked}, "HTTP/1.1 200 OK\r\nx-one: 1\r\ntransfer-encoding: chunked\r\n\r\n"},
		{"HC-46 until close", ok, forGet, Framing{Transfer: header.UntilClose}, "HTTP/1.1 200 OK\r\nx-one: 1\r\nconnection: close\r\n\r\n"},
		{"HC-55 never chunked for HTTP/1.0", ok, forGet, Framing{Transfer: header.Chunked, Version: header.HTTP10, ConnectionKeepAlive: true}, "HTTP/1.0 200 OK\r\nx-one: 1\r\nconnection: close\r\n\r\n"},
		{"HC-53 an empty body says so", ok, forGet, Framing{}, "HTTP/1.1 200 OK\r\nx-one: 1\r\ncontent-length: 0\r\n\r\n"},
		{"HC-45 HEAD passes a length on", ok, forHead, Framing{Length: 42}, "HTTP/1.1 200 OK\r\nx-one: 1\r\ncontent-length: 42\r\n\r\n"},
		{"HC-45 HEAD without a length", ok, forHead, Framing{Length: -1}, "HTTP/1.1 200 OK\r\nx-one: 1\r\n\r\n"},
		{"HC-45 204 is never framed", "HTTP/1.1 204 X\r\n\r\n", forGet, Framing{Transfer: header.Chunked}, "HTTP/1.1 204 No Content\r\n\r\n"},
		{"HC-45 1xx is never framed", "HTTP/1.1 103 X\r\nLink: a\r\n\r\n", forGet, Framing{}, "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n"},
		{"HC-47 a tunnel is not framed", "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n", forConnect, Framing{Transfer: header.Tunnel}, "HTTP/1.1 200 OK\r\n\r\n"},
		{"UP-3 101", "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n", forUpgrade, Framing{Transfer: header.Tunnel, Upgrade: true}, "HTTP/1.1 101 Switching Protocols\r\nupgrade: a\r\nconnection: Upgrade\r\n\r\n"},
		{"HC-52 proper case", ok, forGet, Framing{Case: ProperCase, Transfer: header.Chunked, ConnectionClose: true}, "HTTP/1.1 200 OK\r\nX-One: 1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h header.Head
			o := DefaultOptions()
			if n, e := ParseResponse(exact(tt.in), 0, &o, tt.req, &h); n == 0 {
				t.Fatal(e.Explain())
			}
			if got := string(AppendResponseHead(nil, &h, tt.f)); got != tt.want {
				t.Errorf("\n got %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestEveryFramingIsWrittenOnce tries all framings on heads that carry every framing field.
func TestEveryFramingIsWrittenOnce(t *testing.T) {
	for transfer := header.NoBody; transfer <= header.Tunnel; transfer++ {
		for _, version := range []header.Version{header.HTTP10, header.HTTP11} {
			for status := uint16(0); status < 600; status += 50 {
				var h header.Head
				h.Reset(nil)
				h.Method, h.Status = header.MethodPost, status
				h.SetAuthority([]byte("h"))
				h.AddString(header.ContentLength, "", "1")
				h.AddString(header.ContentLength, "", "2")
				h.AddString(header.TransferEncoding, "", "chunked")
				f := Framing{Transfer: transfer, Version: version, Length: 3}
				out := string(AppendRequestHead(nil, &h, f))
				if status >= 100 {
					out = string(AppendResponseHead(nil, &h, f))
				}
				lengths, codings := strings.Count(out, "content-length: "), strings.Count(out, "transfer-encoding: chunked\r\n")
				if lengths+codings > 1 || strings.Contains(out, ": 1\r\n") || strings.Contains(out, ": 2\r\n") {
					t.Errorf("transfer %s, %s, status %d: %q", transferNames[transfer], version, status, out)
				}
			}
		}
	}
}

func TestProperCase(t *testing.T) {
	for in, want := range map[string]string{
		"content-type": "Content-Type", "x-envoy-ip-tags": "X-Envoy-Ip-Tags", "http2-settings": "Http2-Settings",
		"a2b": "A2B", "WWW-authENTICATE": "Www-Authenticate", "a--b": "A--B", "-a": "-A", "x_y": "X_Y",
	} {
		if got := string(appendProper(nil, []byte(in))); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}

func TestAppendStatusLine(t *testing.T) {
	tests := []struct {
		version header.Version
		status  int
		reason  []byte
		want    string
	}{
		{header.HTTP11, 100, nil, "HTTP/1.1 100 Continue\r\n"},
		{0, 503, nil, "HTTP/1.1 503 Service Unavailable\r\n"},
		{header.HTTP10, 503, nil, "HTTP/1.0 503 Service Unavailable\r\n"},
		{header.HTTP11, 600, nil, "HTTP/1.1 600 Unknown\r\n"},
		{header.HTTP11, 200, []byte("Yes"), "HTTP/1.1 200 Yes\r\n"},
		{header.HTTP11, 200, []byte{}, "HTTP/1.1 200 \r\n"},
	}
	for _, tt := range tests {
		if got := string(AppendStatusLine(nil, tt.version, tt.status, tt.reason)); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

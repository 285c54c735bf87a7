package wire

import (
	"bufio"
	"strings"
	"testing"
)

func TestStrictReaderOfRequests(t *testing.T) {
	for _, row := range []struct{ says, text, fault string }{
		{"a plain request is fine", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		{"a length is fine", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", ""},
		{"chunks are fine", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""},
		{"both framings are not", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "and content-length"},
		{"two lengths are not", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "2 content-length"},
		{"a length of text is not", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n", `content-length "+0"`},
		{"two codings are not", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "2 transfer-encoding"},
		{"another coding is not", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "xchunked"},
		{"no host is not", "GET / HTTP/1.1\r\n\r\n", "0 host"},
		{"two hosts are not", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "2 host"},
		{"a bare LF is not", "GET / HTTP/1.1\nHost: a\r\n\r\n", "bare LF"},
		{"a bare CR is not", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "control byte"},
		{"a NUL is not", "GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n", "control byte"},
		{"a fold is not", "GET / HTTP/1.1\r\nHost: a\r\n b: 1\r\n\r\n", "field line"},
		{"a space before the colon is not", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "field line"},
		{"HTTP/1.0 is not", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "HTTP/1.0"},
		{"a chunk extension is not", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n", "chunk size"},
		{"an overlong chunk is not", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n", "chunk data"},
		{"a length in the trailers is not", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\n\r\n", "in the trailers"},
	} {
		t.Run(row.says, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(row.text))
			m, err := readRequest(r)
			if err == nil {
				m.readBody(r)
			}
			all := strings.Join(m.faults, "; ")
			if row.fault == "" && (all != "" || m.cut) || !strings.Contains(all, row.fault) {
				t.Errorf("faults %q, cut %v; want %q", all, m.cut, row.fault)
			}
		})
	}
}

func TestStrictReaderOfResponses(t *testing.T) {
	for _, row := range []struct {
		says, method, text string
		status             int
		framing            Framing
		body               string
		cut                bool
		fault              string
	}{
		{"a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokrest", 200, FramedLength, "ok", false, ""},
		{"a length cut short", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", 200, FramedLength, "ok", true, ""},
		{"chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, FramedChunked, "ok", false, ""},
		{"chunks cut short", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 200, FramedChunked, "ok", true, ""},
		{"to the end of the connection", "GET", "HTTP/1.1 200 OK\r\n\r\nok", 200, FramedClose, "ok", false, ""},
		{"an answer to HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, FramedNone, "", false, ""},
		{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, FramedNone, "", false, ""},
		{"204 with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, FramedNone, "", false, "a 204 with"},
		{"103 with a coding", "GET", "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n", 103, FramedNone, "", false, "a 103 with"},
		{"a status of two digits", "GET", "HTTP/1.1 20 OK\r\n\r\n", 0, "", "", false, "status line"},
	} {
		t.Run(row.says, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(row.text))
			m, status, err := readResponse(r, row.method)
			if err == nil {
				m.readBody(r)
			}
			if status != row.status || m.framing != row.framing || string(m.body) != row.body || m.cut != row.cut {
				t.Errorf("%d %s %q cut %v", status, m.framing, m.body, m.cut)
			}
			if all := strings.Join(m.faults, "; "); (row.fault == "") != (all == "") || !strings.Contains(all, row.fault) {
				t.Errorf("faults %q, want %q", all, row.fault)
			}
		})
	}
}

package sniff

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// exact returns the bytes with no room behind them, so that reading too far panics.
func exact(s string) []byte {
	b := []byte(s)
	return b[:len(b):len(b)]
}

func u16(n int) string      { return string([]byte{byte(n >> 8), byte(n)}) }
func vec8(s string) string  { return string([]byte{byte(len(s))}) + s }
func vec16(s string) string { return u16(len(s)) + s }

// list16 is a list of two-byte values, without its length.
func list16(values ...uint16) string {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return string(b)
}

func extension(kind int, value string) string { return u16(kind) + vec16(value) }

func serverName(name string) string {
	return extension(extServerName, vec16("\x00"+vec16(name)))
}

func protocols(names ...string) string {
	list := ""
	for _, n := range names {
		list += vec8(n)
	}
	return extension(extProtocols, vec16(list))
}

// fields are those of a hello; the zero value is the least there can be.
type fields struct {
	version    int
	session    string
	ciphers    string
	methods    string
	extensions string
	noBlock    bool // no extensions, not even their length
}

// body is the message without its header.
func (f fields) body() string {
	b := u16(f.version) + strings.Repeat("R", randomBytes) + vec8(f.session) + vec16(f.ciphers) + vec8(f.methods)
	if !f.noBlock {
		b += vec16(f.extensions)
	}
	return b
}

// with is a plain hello with these extensions.
func with(extensions ...string) string { return plain(strings.Join(extensions, "")).body() }

func plain(extensions string) fields {
	return fields{version: 0x0303, ciphers: list16(0x1301), methods: "\x00", extensions: extensions}
}

func message(body string) string {
	return string([]byte{handshakeClientHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}) + body
}

func record(payload string) string { return "\x16\x03\x01" + vec16(payload) }

// wire is a hello in one record.
func wire(body string) string { return record(message(body)) }

// records is a hello in records of at most n bytes each.
func records(body string, n int) string {
	all := ""
	for part := range slices.Chunk([]byte(message(body)), n) {
		all += record(string(part))
	}
	return all
}

// parseCut parses in as it grows through the cuts, and again whole.
func parseCut(in string, cuts []int, maxBytes int, h *ClientHello) Status {
	for _, end := range cuts {
		if s := ParseClientHello(exact(in[:end]), maxBytes, h); s != NeedMore {
			return s
		}
	}
	return ParseClientHello(exact(in), maxBytes, h)
}

// everyByte is the cuts of the slowest client.
func everyByte(in string) []int {
	cuts := make([]int, len(in))
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

// parse fails the test unless the whole input and every way of waiting for it give the same answer.
func parse(t *testing.T, in string, maxBytes int) (Status, *ClientHello) {
	t.Helper()
	var whole, slow ClientHello
	s := parseCut(in, nil, maxBytes, &whole)
	if s2 := parseCut(in, everyByte(in), maxBytes, &slow); s != s2 || describe(&whole) != describe(&slow) {
		t.Errorf("whole: %v %s\nbyte by byte: %v %s", s, describe(&whole), s2, describe(&slow))
	}
	return s, &whole
}

// describe shows all that a hello tells.
func describe(h *ClientHello) string {
	var b strings.Builder
	b.WriteString(string(h.ServerName()))
	if h.BadServerName {
		b.WriteString("(bad)")
	}
	list := h.Protocols()
	for name, ok := list.Next(); ok; name, ok = list.Next() {
		b.WriteString(" " + string(name))
	}
	return b.String() + " " + string(h.appendJA3Text(nil)) + " " + string(h.JA4(nil))
}

// wireEnd is the client's end of a connection that only the test's bytes come from.
type wireEnd struct {
	net.Conn
	in  []byte
	out []byte
}

func (w *wireEnd) Read(b []byte) (int, error) {
	if len(w.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, w.in)
	w.in = w.in[n:]
	return n, nil
}

func (w *wireEnd) Write(b []byte) (int, error)      { w.out = append(w.out, b...); return len(b), nil }
func (w *wireEnd) Close() error                     { return nil }
func (w *wireEnd) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (w *wireEnd) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (w *wireEnd) SetDeadline(time.Time) error      { return nil }
func (w *wireEnd) SetReadDeadline(time.Time) error  { return nil }
func (w *wireEnd) SetWriteDeadline(time.Time) error { return nil }

// clientHello is what crypto/tls sends first.
func clientHello(t testing.TB, c *tls.Config) string {
	t.Helper()
	var w wireEnd
	if err := tls.Client(&w, c).Handshake(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return string(w.out)
}

// serverHears is what the server of crypto/tls reads in a hello, nil when it refuses it.
func serverHears(in string) (info *tls.ClientHelloInfo) {
	stop := errors.New("heard")
	_ = tls.Server(&wireEnd{in: []byte(in)}, &tls.Config{
		MinVersion: tls.VersionTLS10,
		GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			info = i
			return nil, stop
		},
	}).Handshake()
	return info
}

// tool returns the path of a program; without it the test is skipped, or fails where CI=true.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is not installed", name)
	default:
		t.Skipf("%s is not installed", name)
	}
	return ""
}

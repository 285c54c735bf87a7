package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// field is one field line as received.
type field struct{ name, value string }

// message is one request or response as the strict reader saw it. faults lists what a proxy must
// never emit, whatever it was given: any of them fails the case.
type message struct {
	line     string
	fields   []field
	framing  Framing
	body     []byte
	trailers []field
	cut      bool // the connection ended before the message did
	conn     int  // number of the upstream connection, from 1
	faults   []string
}

// maxHeadBytes bounds a head, maxBodyBytes a body, that the reader accepts.
const (
	maxHeadBytes = 1 << 20
	maxBodyBytes = 64 << 20
)

// errEnd says that the connection ended between two messages.
var errEnd = errors.New("connection ended")

// get returns the values of all fields of that name, in order.
func get(fields []field, name string) []string {
	var out []string
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			out = append(out, f.value)
		}
	}
	return out
}

func (m *message) fault(format string, args ...any) {
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

// readRequest reads the head of a request; readBody reads the rest. The result is not nil unless the
// connection ended before its first byte. An error means that nothing can follow on this connection.
func readRequest(r *bufio.Reader) (*message, error) {
	m, err := readHead(r)
	if err != nil {
		return m, err
	}
	words := strings.Split(m.line, " ")
	if len(words) != 3 || words[0] == "" || words[1] == "" || !strings.HasPrefix(words[2], "HTTP/1.") {
		m.fault("request line %q", m.line)
		return m, fmt.Errorf("bad request line")
	}
	if words[2] != "HTTP/1.1" {
		m.fault("forwarded as %s, which a proxy may not (RFC 9110 2.5)", words[2])
	}
	if hosts := get(m.fields, "host"); len(hosts) != 1 {
		m.fault("%d host fields", len(hosts))
	}
	m.framing = m.declared()
	if m.framing == "" {
		m.framing = FramedNone
	}
	return m, nil
}

// readResponse reads the head of a response to method; the body rules are those of RFC 9112 6.3.
func readResponse(r *bufio.Reader, method string) (m *message, status int, err error) {
	m, err = readHead(r)
	if err != nil {
		return m, 0, err
	}
	version, rest, _ := strings.Cut(m.line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, cerr := strconv.Atoi(code)
	if !strings.HasPrefix(version, "HTTP/1.") || cerr != nil || len(code) != 3 {
		m.fault("status line %q", m.line)
		return m, 0, fmt.Errorf("bad status line")
	}
	if version != "HTTP/1.1" {
		m.fault("answered as %s, which a proxy may not (RFC 9110 2.5)", version)
	}
	m.framing = m.declared()
	switch bodiless := status < 200 || status == 204; {
	case bodiless && m.framing != "":
		m.fault("a %d with a framing field (RFC 9112 6.1, RFC 9110 8.6)", status)
		m.framing = FramedNone
	case bodiless || status == 304 || method == "HEAD" || method == "CONNECT" && status < 300:
		m.framing = FramedNone
	case m.framing == "":
		m.framing = FramedClose
	}
	return m, status, nil
}

// declared reads the framing fields and notes every way in which they are not exactly one statement.
func (m *message) declared() Framing {
	te, cl := get(m.fields, "transfer-encoding"), get(m.fields, "content-length")
	switch {
	case len(te) > 0 && len(cl) > 0:
		m.fault("transfer-encoding %q and content-length %q", te, cl)
	case len(te) > 1:
		m.fault("%d transfer-encoding fields", len(te))
	case len(cl) > 1:
		m.fault("%d content-length fields", len(cl))
	}
	if len(te) > 0 {
		if !strings.EqualFold(te[0], "chunked") {
			m.fault("transfer-encoding %q", te[0])
		}
		return FramedChunked
	}
	if len(cl) > 0 {
		if !digits(cl[0]) {
			m.fault("content-length %q", cl[0])
		}
		return FramedLength
	}
	return ""
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// readBody reads body and trailers by m.framing.
func (m *message) readBody(r *bufio.Reader) error {
	var err error
	switch m.framing {
	case FramedLength:
		n, _ := strconv.ParseInt(get(m.fields, "content-length")[0], 10, 64)
		if n > maxBodyBytes {
			return fmt.Errorf("a body of %d bytes", n)
		}
		err = m.take(r, int(n))
	case FramedChunked:
		err = m.readChunks(r)
	case FramedClose:
		m.body, err = io.ReadAll(io.LimitReader(r, maxBodyBytes))
		if err != nil {
			m.cut = true
		}
		return errEnd
	case FramedNone:
	}
	if err != nil {
		m.cut = true
	}
	return err
}

// take appends n bytes to the body, or what there is of them.
func (m *message) take(r *bufio.Reader, n int) error {
	b := make([]byte, n)
	got, err := io.ReadFull(r, b)
	m.body = append(m.body, b[:got]...)
	return err
}

func (m *message) readChunks(r *bufio.Reader) error {
	for {
		line, err := m.readLine(r)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(line, 16, 31)
		if err != nil || strings.Trim(line, "0123456789abcdefABCDEF") != "" || n > maxBodyBytes {
			m.fault("chunk size line %q", line)
			return fmt.Errorf("bad chunk size")
		}
		if n == 0 {
			m.trailers, err = m.readFields(r)
			for _, name := range []string{"content-length", "transfer-encoding", "host", "trailer"} {
				if v := get(m.trailers, name); len(v) > 0 {
					m.fault("%s %q in the trailers (RFC 9110 6.5.1)", name, v)
				}
			}
			return err
		}
		if err := m.take(r, int(n)); err != nil {
			return err
		}
		if line, err := m.readLine(r); err != nil || line != "" {
			m.fault("chunk data ends in %q", line)
			return fmt.Errorf("bad chunk end")
		}
	}
}

// readHead reads the first line and the fields.
func readHead(r *bufio.Reader) (*message, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, fmt.Errorf("%w: %w", errEnd, err)
	}
	m := &message{}
	var err error
	if m.line, err = m.readLine(r); err == nil {
		m.fields, err = m.readFields(r)
	}
	if err != nil {
		m.cut = true
	}
	return m, err
}

func (m *message) readFields(r *bufio.Reader) ([]field, error) {
	var fields []field
	for {
		line, err := m.readLine(r)
		if err != nil || line == "" {
			return fields, err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			m.fault("field line %q", line)
		}
		fields = append(fields, field{name, strings.Trim(value, " \t")})
		if len(fields) > 10000 {
			return fields, fmt.Errorf("too many fields")
		}
	}
}

// readLine reads up to CRLF. Any other control byte but HT inside, and a bare LF, is a fault.
func (m *message) readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) || len(line) > maxHeadBytes {
			return string(line), err
		}
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		m.fault("a line ends in a bare LF: %q", line)
		text = strings.TrimSuffix(text, "\n")
	}
	for _, c := range []byte(text) {
		if c < ' ' && c != '\t' || c == 0x7f {
			m.fault("a control byte in %q", text)
			break
		}
	}
	return text, nil
}

// token says whether s is a field name or method (RFC 9110 5.6.2).
func token(s string) bool {
	for _, c := range []byte(s) {
		if c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return s != ""
}

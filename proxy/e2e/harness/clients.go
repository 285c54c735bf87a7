package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Field is one header field as it stood on the wire.
type Field struct{ Name, Value string }

// Message is an HTTP/1 message as it was read: nothing is normalised but the framing of the body.
type Message struct {
	// Start is the request or status line. Fields and Trailers keep order and letter case.
	Start    string
	Fields   []Field
	Body     []byte
	Trailers []Field
	// Framing is "length", "chunked", "close" or "none".
	Framing string
	// Wire is how many bytes all that was.
	Wire int
}

// Status returns the code of a response, 0 for a request.
func (m *Message) Status() int {
	parts := strings.SplitN(m.Start, " ", 3)
	if len(parts) < 2 || !strings.HasPrefix(parts[0], "HTTP/") {
		return 0
	}
	n, _ := strconv.Atoi(parts[1])
	return n
}

// Path returns the target of a request.
func (m *Message) Path() string {
	parts := strings.SplitN(m.Start, " ", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}

// Values returns the values of a field, whatever its letter case, in order.
func (m *Message) Values(name string) []string {
	var out []string
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			out = append(out, f.Value)
		}
	}
	return out
}

// Get returns all values of a field joined with "|"; "-" when there is none.
func (m *Message) Get(name string) string {
	v := m.Values(name)
	if v == nil {
		return "-"
	}
	return strings.Join(v, "|")
}

// Head prints the start line and the fields but for the named ones.
func (m *Message) Head(without ...string) string {
	var b strings.Builder
	b.WriteString(m.Start + "\n")
next:
	for _, f := range m.Fields {
		for _, w := range without {
			if strings.EqualFold(w, f.Name) {
				continue next
			}
		}
		b.WriteString(f.Name + ": " + f.Value + "\n")
	}
	return b.String()
}

// ReadMessage reads one message. bodiless says that a response has no body whatever its fields say.
func ReadMessage(r *bufio.Reader, bodiless bool) (*Message, error) {
	m := &Message{Framing: "none"}
	var err error
	if m.Start, err = m.readLine(r); err != nil {
		return nil, err
	}
	if m.Fields, err = m.readFields(r); err != nil {
		return m, fmt.Errorf("head: %w", err)
	}
	status := m.Status()
	if bodiless || status/100 == 1 || status == 204 || status == 304 {
		return m, nil
	}
	switch {
	case m.Get("transfer-encoding") != "-":
		m.Framing = "chunked"
		err = m.readChunks(r)
	case m.Get("content-length") != "-":
		m.Framing = "length"
		var n int
		if n, err = strconv.Atoi(m.Get("content-length")); err == nil {
			m.Body = make([]byte, n)
			_, err = io.ReadFull(r, m.Body)
			m.Wire += n
		}
	case status != 0:
		m.Framing = "close"
		m.Body, err = io.ReadAll(r)
		m.Wire += len(m.Body)
	}
	if err != nil {
		return m, fmt.Errorf("body after %d bytes: %w", len(m.Body), err)
	}
	return m, nil
}

func (m *Message) readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		if line != "" && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	if !strings.HasSuffix(line, "\r\n") {
		return "", fmt.Errorf("line %q does not end in CRLF", line)
	}
	m.Wire += len(line)
	return line[:len(line)-2], nil
}

func (m *Message) readFields(r *bufio.Reader) ([]Field, error) {
	var out []Field
	for {
		line, err := m.readLine(r)
		if err != nil || line == "" {
			return out, err
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			if name, ok = strings.CutSuffix(line, ":"); !ok {
				return out, fmt.Errorf("field line %q", line)
			}
		}
		out = append(out, Field{name, value})
	}
}

func (m *Message) readChunks(r *bufio.Reader) error {
	for {
		line, err := m.readLine(r)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(line, 16, 32)
		if err != nil {
			return fmt.Errorf("chunk size %q", line)
		}
		if n == 0 {
			m.Trailers, err = m.readFields(r)
			return err
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return err
		}
		m.Wire += len(chunk)
		if !bytes.HasSuffix(chunk, []byte("\r\n")) {
			return errors.New("chunk does not end in CRLF")
		}
		m.Body = append(m.Body, chunk[:n]...)
	}
}

// Wire is a client that writes bytes as given and reads messages as they come.
type Wire struct {
	t    testing.TB
	Conn net.Conn
	In   *bufio.Reader
}

// DialWire connects; network is tcp or unix. The connection is closed with the test.
func DialWire(t testing.TB, network, addr string) *Wire {
	t.Helper()
	c, err := net.DialTimeout(network, addr, Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return NewWire(t, c)
}

// NewWire makes a Wire of a connection that the caller closes.
func NewWire(t testing.TB, c net.Conn) *Wire { return &Wire{t: t, Conn: c, In: bufio.NewReader(c)} }

// ReadStart returns the head of the next response and leaves its body in In.
func (w *Wire) ReadStart() *Message { w.t.Helper(); return w.read(true) }

// Send writes text; every line must carry its own CRLF.
func (w *Wire) Send(text string) {
	w.t.Helper()
	if err := w.TrySend(text); err != nil {
		w.t.Fatalf("writing a request: %v", err)
	}
}

// TrySend is Send for other goroutines than the test's.
func (w *Wire) TrySend(text string) error {
	w.Conn.SetWriteDeadline(time.Now().Add(Patience))
	_, err := io.WriteString(w.Conn, text)
	return err
}

// Read returns the next response.
func (w *Wire) Read() *Message { w.t.Helper(); return w.read(false) }

// ReadHead returns the next response, which has no body because the request was HEAD.
func (w *Wire) ReadHead() *Message { w.t.Helper(); return w.read(true) }

func (w *Wire) read(bodiless bool) *Message {
	w.t.Helper()
	m, err := w.TryRead(bodiless)
	if err != nil {
		w.t.Fatalf("reading a response: %v", err)
	}
	return m
}

// TryRead is Read for other goroutines than the test's.
func (w *Wire) TryRead(bodiless bool) (*Message, error) {
	w.Conn.SetReadDeadline(time.Now().Add(Patience))
	return ReadMessage(w.In, bodiless)
}

// Do sends and reads.
func (w *Wire) Do(text string) *Message {
	w.t.Helper()
	w.Send(text)
	return w.Read()
}

// WantClosed fails unless the proxy ends the connection in order, without another byte.
func (w *Wire) WantClosed() {
	w.t.Helper()
	w.Conn.SetReadDeadline(time.Now().Add(Patience))
	if rest, err := io.ReadAll(w.In); err != nil || len(rest) > 0 {
		w.t.Fatalf("the connection should have ended: %q, %v", rest, err)
	}
}

// Close ends the connection.
func (w *Wire) Close() { w.Conn.Close() }

// Recorder is an origin on plain sockets that keeps every request as it was on the wire and answers
// with what a function returns, byte for byte.
type Recorder struct {
	ln     net.Listener
	answer func(*Message) string
	// piece is how many bytes of an answer leave in one write; 0 all.
	piece atomic.Int64
	done  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	total int
	seen  []*Message
}

// NewRecorder listens on a free port of 127.0.0.1; a nil answer is a 200 with the body "ok".
func NewRecorder(t testing.TB, answer func(*Message) string) *Recorder {
	t.Helper()
	return NewRecorderOn(t, "tcp", "127.0.0.1:0", answer)
}

// NewRecorderOn listens where it is told to: another network, another address.
func NewRecorderOn(t testing.TB, network, addr string, answer func(*Message) string) *Recorder {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	if answer == nil {
		answer = func(*Message) string { return Reply("ok") }
	}
	r := &Recorder{ln: ln, answer: answer, conns: make(map[net.Conn]struct{})}
	r.done.Go(r.accept)
	t.Cleanup(r.Stop)
	return r
}

// Reply is a 200 with a body, its length and further field lines (without CRLF).
func Reply(body string, fields ...string) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\n")
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

func (r *Recorder) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns[c] = struct{}{}
		r.total++
		r.mu.Unlock()
		r.done.Go(func() { r.serve(c) })
	}
}

func (r *Recorder) serve(c net.Conn) {
	defer func() {
		c.Close()
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for {
		m, err := ReadMessage(in, false)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.seen = append(r.seen, m)
		r.mu.Unlock()
		text := r.answer(m)
		if err := WritePieces(c, text, int(r.piece.Load())); err != nil || strings.Contains(text, "Connection: close\r\n") {
			return
		}
	}
}

// Dribble makes answers leave in pieces of n bytes; 0 whole.
func (r *Recorder) Dribble(n int) { r.piece.Store(int64(n)) }

// WritePieces writes text n bytes at a time, all of it with n == 0.
func WritePieces(c net.Conn, text string, n int) error {
	if n == 0 {
		n = max(1, len(text))
	}
	for len(text) > 0 {
		piece := text[:min(n, len(text))]
		if _, err := io.WriteString(c, piece); err != nil {
			return err
		}
		text = text[len(piece):]
	}
	return nil
}

// Address implements Origin: host:port, or the path of a unix socket.
func (r *Recorder) Address() string { return r.ln.Addr().String() }

// Seen returns the requests so far in the order of their ends.
func (r *Recorder) Seen() []*Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Message(nil), r.seen...)
}

// Last returns the newest request.
func (r *Recorder) Last(t testing.TB) *Message {
	t.Helper()
	seen := r.Seen()
	if len(seen) == 0 {
		t.Fatal("the origin has seen no request")
	}
	return seen[len(seen)-1]
}

// Connections returns how many were accepted and how many of them are open.
func (r *Recorder) Connections() (total, open int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total, len(r.conns)
}

// Stop implements Origin: it closes everything and waits.
func (r *Recorder) Stop() {
	r.ln.Close()
	r.mu.Lock()
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.done.Wait()
}

// Tool returns the path of a program; without it the test is skipped, or fails where CI=true.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is not installed; make peers installs it", name)
	default:
		t.Skipf("%s is not installed; make peers installs it", name)
	}
	return ""
}

// Run runs a program to its end, within a minute, and returns what it printed. A failure is the test's.
func Run(t testing.TB, path string, args ...string) string {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.WaitDelay = time.Second
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", path, strings.Join(args, " "), err, out)
	}
	return string(out)
}

package harness

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Pair is a certificate and its key in PEM files, as configurations name them.
type Pair struct{ Chain, Key string }

// Pair makes a certificate for a name and writes it to files of the test's.
func (a *Authority) Pair(t testing.TB, name string) Pair {
	t.Helper()
	dir := t.TempDir()
	p := Pair{filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")}
	p.Replace(t, a.Certificate(t, name))
	return p
}

// Replace puts another certificate in the files: each is renamed over the old one.
func (p Pair) Replace(t testing.TB, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	ReplaceFile(t, p.Chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
	ReplaceFile(t, p.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

// ReplaceFile writes a file beside path and renames it over that.
func ReplaceFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// YAML is a tls_certificate.
func (p Pair) YAML() string {
	return fmt.Sprintf("{ certificate_chain: { filename: %q }, private_key: { filename: %q } }", p.Chain, p.Key)
}

// Trust is a validation_context with the authority's certificate and further fields, as a part of a
// YAML flow mapping.
func (a *Authority) Trust(fields ...string) string {
	all := append([]string{fmt.Sprintf("trusted_ca: { filename: %q }", a.File)}, fields...)
	return "validation_context: { " + strings.Join(all, ", ") + " }"
}

// ServerSocket is a transport_socket of a filter chain: common are parts of common_tls_context, fields
// further fields of the context, all in YAML flow style.
func ServerSocket(p Pair, common, fields string) string {
	return transportSocket("Downstream", "tls_certificates: ["+p.YAML()+"], "+common, fields)
}

// ClientSocket is a transport_socket of a cluster; arguments as ServerSocket's.
func ClientSocket(common, fields string) string { return transportSocket("Upstream", common, fields) }

func transportSocket(side, common, fields string) string {
	return fmt.Sprintf("transport_socket: { name: tls, typed_config: { \"@type\": %stransport_sockets.tls.v3.%sTlsContext, common_tls_context: { %s }, %s } }",
		typePrefix, side, common, fields)
}

// With is a filter chain's match with further fields of the chain beside it, for Chain.Match.
func With(match string, fields ...string) string {
	if match == "" {
		match = "{}"
	}
	return match + "\n" + strings.Join(fields, "\n")
}

// Secured is the configuration of the topology with fields, such as a ServerSocket, in its filter chain.
func (t *Topology) Secured(log string, fields ...string) string {
	if len(fields) == 0 {
		return t.YAML(log)
	}
	const at = "    - filters:\n"
	return strings.Replace(t.YAML(log), at, "    - "+strings.Join(fields, "\n      ")+"\n      filters:\n", 1)
}

// StartSecured is Start with fields in the filter chain.
func StartSecured(t testing.TB, top Topology, fields ...string) *Proxy {
	t.Helper()
	log := filepath.Join(t.TempDir(), "access.log")
	p := start(t, Load(t, top.Secured(log, fields...)), max(1, top.Loops), top.DrainTime)
	p.log = log
	for _, c := range top.Clusters {
		p.origins = append(p.origins, c.Origins...)
	}
	if !top.NotSettled {
		t.Cleanup(p.finish)
	}
	return p
}

// ApplySecured is Apply with fields in the filter chain.
func (p *Proxy) ApplySecured(top Topology, fields ...string) {
	p.T.Helper()
	if err := p.Server.Apply(Load(p.T, top.Secured(p.log, fields...))); err != nil {
		p.T.Fatal(err)
	}
}

// Client is a configuration that trusts the authority and asks for a name.
func (a *Authority) Client(name string) *tls.Config {
	return &tls.Config{RootCAs: a.Pool, ServerName: name, MinVersion: tls.VersionTLS12}
}

// TLSClient is one client connection with TLS. Operations fail the test when they take longer than
// Patience.
type TLSClient struct {
	*tls.Conn
	T    testing.TB
	wire *Wire
}

// DialTLS connects and has the handshake done; the connection is closed at the end of the test.
func (p *Proxy) DialTLS(c *tls.Config) *TLSClient {
	p.T.Helper()
	t, err := p.TryTLS(c)
	if err != nil {
		p.T.Fatal(err)
	}
	return t
}

// TryTLS is DialTLS for handshakes that may fail. A client of TLS 1.3 is done before the server has
// judged its certificate: WantRefused reads that.
func (p *Proxy) TryTLS(c *tls.Config) (*TLSClient, error) {
	p.T.Helper()
	raw := Dial(p.T, p.Addr)
	t := &TLSClient{Conn: tls.Client(raw.Conn, c), T: p.T}
	t.wire = NewWire(p.T, t.Conn)
	_ = t.SetDeadline(time.Now().Add(Patience))
	return t, t.Handshake()
}

// Send writes text.
func (c *TLSClient) Send(text string) *TLSClient {
	c.T.Helper()
	_ = c.SetDeadline(time.Now().Add(Patience))
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.T.Fatalf("write: %v", err)
	}
	return c
}

// WantText reads as many bytes as text has, which must be the same.
func (c *TLSClient) WantText(text string) *TLSClient {
	c.T.Helper()
	_ = c.SetDeadline(time.Now().Add(Patience))
	b := make([]byte, len(text))
	if n, err := io.ReadFull(c.wire.In, b); err != nil || string(b) != text {
		c.T.Fatalf("read %s, %v; want %s", short(string(b[:n])), err, short(text))
	}
	return c
}

// Do sends a request and reads its response.
func (c *TLSClient) Do(text string) *Message {
	c.T.Helper()
	return c.wire.Do(text)
}

// Wire is the connection as a client of messages.
func (c *TLSClient) Wire() *Wire { return c.wire }

// Reader reads what comes, for tests that look at errors themselves.
func (c *TLSClient) Reader() io.Reader { return c.wire.In }

// Finish says with close_notify that nothing more comes.
func (c *TLSClient) Finish() *TLSClient {
	c.T.Helper()
	if err := c.CloseWrite(); err != nil {
		c.T.Fatal(err)
	}
	return c
}

// WantEnd reads to the end, which must be a close_notify, without another byte.
func (c *TLSClient) WantEnd() {
	c.T.Helper()
	_ = c.SetDeadline(time.Now().Add(Patience))
	// A connection that ends without close_notify is an io.ErrUnexpectedEOF.
	if rest, err := io.ReadAll(c.wire.In); err != nil || len(rest) > 0 {
		c.T.Errorf("the connection should have ended: %s, %v", short(string(rest)), err)
	}
}

// WantRefused reads until the server says why it does not go on with the connection.
func (c *TLSClient) WantRefused(alert string) {
	c.T.Helper()
	_ = c.SetDeadline(time.Now().Add(Patience))
	_, err := c.wire.In.ReadByte()
	if err == nil || !strings.Contains(err.Error(), alert) {
		c.T.Errorf("read: %v, want the alert %q", err, alert)
	}
}

// HTTPS is net/http's client with connections to the proxy, whatever name a URL has. Idle ones are
// closed at the end of the test.
func (p *Proxy) HTTPS(c *tls.Config) *http.Client {
	tr := &http.Transport{
		TLSClientConfig: c,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: Patience}
			return d.DialContext(ctx, "tcp", p.Addr)
		},
		MaxIdleConnsPerHost: 16,
	}
	p.T.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport: tr, Timeout: Patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// TLSServer is an origin with TLS made of a function, which runs once for each connection, on its own
// goroutine, after the handshake. The connection is closed when it returns.
type TLSServer struct {
	ln     net.Listener
	config *tls.Config
	serve  func(*tls.Conn)
	done   sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	states []tls.ConnectionState // of the handshakes that were completed
}

// NewTLSServer starts one.
func NewTLSServer(t testing.TB, config *tls.Config, serve func(*tls.Conn)) *TLSServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &TLSServer{ln: ln, config: config, serve: serve, conns: make(map[net.Conn]struct{})}
	s.done.Go(s.accept)
	t.Cleanup(s.Stop)
	return s
}

func (s *TLSServer) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.done.Go(func() {
			s.one(tls.Server(c, s.config))
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

func (s *TLSServer) one(c *tls.Conn) {
	defer c.Close()
	if err := c.Handshake(); err != nil {
		return
	}
	s.mu.Lock()
	s.states = append(s.states, c.ConnectionState())
	s.mu.Unlock()
	s.serve(c)
}

// States returns what was agreed on by each connection so far.
func (s *TLSServer) States() []tls.ConnectionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]tls.ConnectionState(nil), s.states...)
}

// Address implements Origin.
func (s *TLSServer) Address() string { return s.ln.Addr().String() }

// Stop implements Origin.
func (s *TLSServer) Stop() {
	_ = s.ln.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

// AnswerHTTP serves HTTP/1 requests with what answer returns, byte for byte; nil is a 200 with "ok".
func AnswerHTTP(answer func(*Message) string) func(*tls.Conn) {
	if answer == nil {
		answer = func(*Message) string { return Reply("ok") }
	}
	return func(c *tls.Conn) {
		in := bufio.NewReader(c)
		for {
			m, err := ReadMessage(in, false)
			if err != nil {
				return
			}
			if _, err := io.WriteString(c, answer(m)); err != nil {
				return
			}
		}
	}
}

// EchoTLS sends back what comes, and then close_notify.
func EchoTLS(c *tls.Conn) {
	if _, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}); err == nil {
		_ = c.CloseWrite()
	}
}

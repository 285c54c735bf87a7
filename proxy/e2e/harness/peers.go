package harness

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Daemon is somebody else's server, run by a test as an origin.
type Daemon struct {
	addr string
	cmd  *exec.Cmd
	out  bytes.Buffer
	over chan struct{} // closed when it has ended
	once sync.Once
}

// StartDaemon starts the program that command makes for a port of 127.0.0.1, waits until it listens
// there, and interrupts it at the end of the test. The program must stay in the foreground.
func StartDaemon(t testing.TB, command func(port string) *exec.Cmd) *Daemon {
	t.Helper()
	var d *Daemon
	for range 5 { // between looking for a free port and using it somebody else may take it
		d = &Daemon{addr: freeAddress(t), over: make(chan struct{})}
		_, port, _ := net.SplitHostPort(d.addr)
		d.cmd = command(port)
		d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
		d.cmd.WaitDelay = time.Second
		if err := d.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = d.cmd.Wait()
			close(d.over)
		}()
		t.Cleanup(d.Stop)
		if d.listens() {
			return d
		}
		d.Stop()
	}
	t.Fatalf("%s does not listen:\n%s", d.cmd, d.out.String())
	return nil
}

// listens waits until the daemon accepts a connection, or has ended.
func (d *Daemon) listens() bool {
	up := false
	within(Patience, func() bool {
		select {
		case <-d.over:
			return true
		default:
		}
		c, err := net.DialTimeout("tcp", d.addr, time.Second)
		if err == nil {
			up = true
			_ = c.Close()
		}
		return up
	})
	return up
}

// Address implements Origin.
func (d *Daemon) Address() string { return d.addr }

// Stop implements Origin.
func (d *Daemon) Stop() {
	d.once.Do(func() {
		_ = d.cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(Patience/4, func() { _ = d.cmd.Process.Kill() })
		defer kill.Stop()
		<-d.over
	})
}

// freeAddress returns a port of 127.0.0.1 that nobody has.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// PeerDir returns a directory for a server's data. When the test runs as root, which some servers refuse
// to be, it belongs to the named user, for whom AsUser runs them.
func PeerDir(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	if c := credential(t, name); c != nil {
		// The test's own directory above it is closed to others.
		if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// AsUser has a command run as the named user when the test runs as root.
func AsUser(t testing.TB, name string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if c := credential(t, name); c != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c}
	}
	return cmd
}

// credential is nil unless the test runs as root.
func credential(t testing.TB, name string) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// Session is a client program that is talked to while it runs.
type Session struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	seen strings.Builder
	once sync.Once
	err  error
}

// StartSession starts a program whose standard error joins its output. It is killed when it runs for
// more than a minute, or at the end of the test.
func StartSession(t testing.TB, path string, args ...string) *Session {
	t.Helper()
	s := &Session{t: t, cmd: exec.Command(path, args...)}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.cmd.Stdout
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(time.Minute, func() { _ = s.cmd.Process.Kill() })
	t.Cleanup(func() {
		kill.Stop()
		_ = s.cmd.Process.Kill()
		_ = s.wait()
	})
	return s
}

// Send writes text to the program's input.
func (s *Session) Send(text string) *Session {
	s.t.Helper()
	if _, err := io.WriteString(s.in, text); err != nil {
		s.t.Fatalf("%s: %v, after\n%s", s.cmd.Path, err, s.seen.String())
	}
	return s
}

// AwaitLine reads the program's output up to a line that contains text, and returns that line.
func (s *Session) AwaitLine(text string) string {
	s.t.Helper()
	for {
		line, err := s.out.ReadString('\n')
		s.seen.WriteString(line)
		if strings.Contains(line, text) {
			return strings.TrimSuffix(line, "\n")
		}
		if err != nil {
			s.t.Fatalf("%s: %v instead of %q, after\n%s", s.cmd.Path, err, text, s.seen.String())
		}
	}
}

// Interrupt is the interrupt key.
func (s *Session) Interrupt() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
}

// End closes the program's input and returns the rest of its output, and how it ended.
func (s *Session) End() (string, error) {
	_ = s.in.Close()
	rest, _ := io.ReadAll(s.out)
	return string(rest), s.wait()
}

func (s *Session) wait() error {
	s.once.Do(func() { s.err = s.cmd.Wait() })
	return s.err
}

// RunWith is Run with an input.
func RunWith(t testing.TB, input io.Reader, path string, args ...string) string {
	t.Helper()
	out, err := tryRun(input, path, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", path, strings.Join(args, " "), err, out)
	}
	return out
}

// RunFailing is Run for a program that has to fail.
func RunFailing(t testing.TB, path string, args ...string) string {
	t.Helper()
	out, err := tryRun(nil, path, args...)
	if err == nil {
		t.Fatalf("%s %s did not fail:\n%s", path, strings.Join(args, " "), out)
	}
	return out
}

func tryRun(input io.Reader, path string, args ...string) (string, error) {
	cmd := exec.Command(path, args...)
	cmd.Stdin = input
	cmd.WaitDelay = time.Second
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Authority signs the certificates of a test's TLS servers.
type Authority struct {
	// File is its certificate as PEM; Pool holds it.
	File string
	Pool *x509.CertPool

	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

// NewAuthority makes an authority and writes its certificate to a file of the test's.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{File: filepath.Join(t.TempDir(), "ca.pem"), Pool: x509.NewCertPool()}
	template := a.template("Test Authority")
	template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	var der []byte
	a.key, der = sign(t, template, template, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.Pool.AddCert(a.cert)
	if err := os.WriteFile(a.File, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *Authority) template(name string) *x509.Certificate {
	a.serial++
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true,
	}
}

// Certificate makes one for a server of that name.
func (a *Authority) Certificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	template := a.template(name)
	template.DNSNames, template.KeyUsage = []string{name}, x509.KeyUsageDigitalSignature
	key, der := sign(t, template, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// sign makes a key and its certificate; a nil signer is the key itself.
func sign(t testing.TB, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// TLSOrigin is a TLS server that says which protocol was agreed on and its name, then echoes.
type TLSOrigin struct {
	t    testing.TB
	name string
	ln   net.Listener
	done sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	total int
}

// NewTLSOrigin starts a server with a certificate of the authority for its name. protocols are what it
// takes by ALPN.
func NewTLSOrigin(t testing.TB, a *Authority, name string, protocols ...string) *TLSOrigin {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{a.Certificate(t, name)}, NextProtos: protocols, MinVersion: tls.VersionTLS12}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	o := &TLSOrigin{t: t, name: name, ln: ln, conns: make(map[net.Conn]struct{})}
	o.done.Go(o.accept)
	t.Cleanup(o.Stop)
	return o
}

func (o *TLSOrigin) accept() {
	for {
		c, err := o.ln.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		o.conns[c] = struct{}{}
		o.total++
		o.mu.Unlock()
		o.done.Go(func() {
			o.serve(c.(*tls.Conn))
			_ = c.Close()
			o.mu.Lock()
			delete(o.conns, c)
			o.mu.Unlock()
		})
	}
}

// serve speaks HTTP of the simplest kind when it is spoken to so, for curl; else lines are echoed.
func (o *TLSOrigin) serve(c *tls.Conn) {
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		protocol := c.ConnectionState().NegotiatedProtocol
		if protocol == "" {
			protocol = "no protocol"
		}
		answer := fmt.Sprintf("%s by %s: %s\n", o.name, protocol, strings.TrimSpace(line))
		if strings.HasSuffix(line, " HTTP/1.1\r\n") {
			for field := ""; field != "\r\n" && err == nil; {
				field, err = in.ReadString('\n')
			}
			answer = Reply(answer, "Connection: close")
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
		if strings.HasPrefix(answer, "HTTP") {
			// What the client sends at its end would be answered with a RST by a socket that is closed.
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, in)
			return
		}
	}
}

// Connections returns how many there have been.
func (o *TLSOrigin) Connections() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}

// Address implements Origin.
func (o *TLSOrigin) Address() string { return o.ln.Addr().String() }

// Stop implements Origin.
func (o *TLSOrigin) Stop() {
	_ = o.ln.Close()
	o.mu.Lock()
	for c := range o.conns {
		_ = c.Close()
	}
	o.mu.Unlock()
	o.done.Wait()
}

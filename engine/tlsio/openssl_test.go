package tlsio_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// tool is an openssl command that runs, driven by its standard input.
type tool struct {
	in  io.WriteCloser
	mu  sync.Mutex
	out strings.Builder
}

func (o *tool) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out.Write(p)
}

func (o *tool) said() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out.String()
}

func (o *tool) say(s string) { _, _ = io.WriteString(o.in, s) }

func (o *tool) await(t *testing.T, s string) {
	t.Helper()
	if !poll(func() bool { return strings.Contains(o.said(), s) }) {
		t.Fatalf("openssl never said %q but:\n%s", s, o.said())
	}
}

// openssl starts a command; it is gone at the end of the test.
func openssl(t *testing.T, args ...string) *tool {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed")
		}
		t.Skip("openssl is not installed")
	}
	o := new(tool)
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = o, o
	if o.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("openssl %s\n%s", strings.Join(args, " "), o.said())
		}
	})
	return o
}

var opensslVersions = map[string]uint16{"-tls1_2": tls.VersionTLS12, "-tls1_3": tls.VersionTLS13}

func TestOpenSSLClient(t *testing.T) {
	for flag, version := range opensslVersions {
		t.Run(flag, func(t *testing.T) {
			p := echo()
			addr, _, _ := one(t, serverConfig(0), p)
			o := openssl(t, "s_client", "-connect", addr, "-servername", "a.test", "-alpn", "h2,http/1.1", flag)
			o.say("first\n")
			o.await(t, "\nfirst\n")
			if version == tls.VersionTLS13 {
				o.say("K\n") // a key update, and one asked of us
				o.await(t, "KEYUPDATE")
				o.say("second\n")
				o.await(t, "\nsecond\n")
				o.say("k\n") // one that is not
				eventually(t, "the second key update", func() bool { return strings.Count(o.said(), "KEYUPDATE") == 2 })
			}
			o.say("third\n")
			o.await(t, "\nthird\n")
			if st := p.connected(); st.Version != version || st.NegotiatedProtocol != "h2" || st.ServerName != "a.test" {
				t.Errorf("state %+v", st)
			}
			o.say("Q\n")
			p.wantClosed(t, engine.PeerClosed)
		})
	}
}

func TestOpenSSLClientMayNotRenegotiate(t *testing.T) {
	p := echo()
	addr, _, _ := one(t, serverConfig(0), p)
	o := openssl(t, "s_client", "-connect", addr, "-tls1_2", "-legacy_renegotiation")
	o.say("first\n")
	o.await(t, "\nfirst\n")
	o.say("R\n")
	p.wantClosed(t, engine.TransformFailed)
}

func TestOpenSSLClientResumes(t *testing.T) {
	for flag := range opensslVersions {
		t.Run(flag, func(t *testing.T) {
			layer := tlsio.New(tlsio.Options{})
			addr, _ := serve(t, layer, serverConfig(0), time.Minute, func(*engine.Conn) *peer { return echo() })
			session := filepath.Join(t.TempDir(), "session")
			for i, option := range []string{"-sess_out", "-sess_in"} {
				o := openssl(t, "s_client", "-connect", addr, flag, option, session)
				o.say("first\n")
				o.await(t, "\nfirst\n")
				o.say("Q\n")
				eventually(t, "it left", func() bool { c := layer.Counters(); return c.Completed == uint64(i+1) })
				eventually(t, "the session is there", func() bool { _, err := os.Stat(session); return err == nil })
			}
			if got := layer.Counters(); got.Resumed != 1 {
				t.Errorf("counters %+v", got)
			}
		})
	}
}

// opensslServer returns a running s_server and a client's connection to it.
func opensslServer(t *testing.T, p *peer, args ...string) (*tool, *engine.Loop) {
	t.Helper()
	cert := serverCert()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "server.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})...)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	o := openssl(t, append([]string{"s_server", "-accept", strconv.Itoa(addr.Port), "-cert", file, "-key", file}, args...)...)
	o.await(t, "ACCEPT")
	layer := tlsio.New(tlsio.Options{})
	l := group(t, engine.Options{Loops: 1}).Loops()[0]
	on(t, l, func() {
		c := l.Dial(engine.DialSpec{Addr: addr.AddrPort(), Timeout: 10 * time.Second}, p)
		layer.Client(c, clientConfig(0), 0)
		p.conn = c
	})
	eventually(t, "connected", func() bool { return p.connected() != nil || p.isClosed() })
	return o, l
}

func freeAddr(t *testing.T) *net.TCPAddr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr)
}

func TestOpenSSLServer(t *testing.T) {
	for flag, version := range opensslVersions {
		t.Run(flag, func(t *testing.T) {
			p := &peer{onReadClosed: (*engine.Conn).CloseWrite}
			o, l := opensslServer(t, p, flag)
			talk := func(i int) {
				t.Helper()
				line := fmt.Sprintf("line %d\n", i)
				on(t, l, func() { p.conn.Write([]byte("to it, " + line)) })
				o.await(t, "to it, "+line)
				o.say("from it, " + line)
				eventually(t, "the line arrived", func() bool { return strings.HasSuffix(p.got(), "from it, "+line) })
			}
			talk(1)
			if version == tls.VersionTLS13 {
				o.say("K\n")
				talk(2)
				o.say("k\n")
			}
			talk(3)
			if st := p.connected(); st.Version != version {
				t.Errorf("state %+v", st)
			}
			if strings.ContainsAny(p.got(), "Kk") {
				t.Errorf("a command was sent as text: %q", p.got())
			}
			o.say("q\n")
			eventually(t, "it left", p.isClosed)
		})
	}
}

func TestOpenSSLServerMayNotRenegotiate(t *testing.T) {
	p := &peer{}
	o, _ := opensslServer(t, p, "-tls1_2")
	o.say("r\n")
	p.wantClosed(t, engine.TransformFailed)
}

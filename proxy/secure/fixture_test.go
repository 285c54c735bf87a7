package secure

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// rsaKey is one for all tests: making one is slow.
var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// pair is a certificate and its key, which may issue others.
type pair struct {
	cert  *x509.Certificate
	key   crypto.Signer
	above []*x509.Certificate // up to, but without, the root
}

var serial struct {
	sync.Mutex
	n int64
}

// issue makes a certificate; a nil parent signs itself. change edits the template.
func issue(t testing.TB, parent *pair, key crypto.Signer, change func(*x509.Certificate)) *pair {
	t.Helper()
	serial.Lock()
	serial.n++
	n := serial.n
	serial.Unlock()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x1000 + n),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	change(template)
	p := &pair{key: key}
	signer, by := key, template
	if parent != nil {
		signer, by = parent.key, parent.cert
		if parent.cert.CheckSignatureFrom(parent.cert) != nil || len(parent.above) > 0 {
			p.above = append([]*x509.Certificate{parent.cert}, parent.above...)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), signer)
	must(t, err)
	p.cert, err = x509.ParseCertificate(der)
	must(t, err)
	return p
}

func authority(t testing.TB, parent *pair, name string) *pair {
	t.Helper()
	return issue(t, parent, ecKey(t), func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: name}
		c.IsCA = true
		c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	})
}

// leaf makes an ECDSA certificate for DNS names.
func leaf(t testing.TB, ca *pair, names ...string) *pair {
	t.Helper()
	return issue(t, ca, ecKey(t), func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: names[0], Organization: []string{"Example"}}
		c.DNSNames = names
	})
}

func (p *pair) chain() []byte {
	out := encode(p.cert)
	for _, c := range p.above {
		out = append(out, encode(c)...)
	}
	return out
}

func (p *pair) keyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// inline is the pair as configuration.
func (p *pair) inline() *conf.TLSCertificate {
	return &conf.TLSCertificate{Chain: conf.DataSource{Inline: p.chain()}, Key: conf.DataSource{Inline: p.keyPEM()}}
}

// files writes the pair to dir/name.crt and .key.
func (p *pair) files(t testing.TB, dir, name string) *conf.TLSCertificate {
	t.Helper()
	chain, key := filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	write(t, chain, p.chain())
	write(t, key, p.keyPEM())
	return &conf.TLSCertificate{Chain: conf.DataSource{File: chain}, Key: conf.DataSource{File: key}}
}

// tls is the pair for crypto/tls.
func (p *pair) tls() tls.Certificate {
	out := tls.Certificate{PrivateKey: p.key, Leaf: p.cert, Certificate: [][]byte{p.cert.Raw}}
	for _, c := range p.above {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out
}

func (p *pair) trust() conf.DataSource { return conf.DataSource{Inline: encode(p.cert)} }

// crl makes a revocation list of an issuer.
func (p *pair) crl(t testing.TB, next time.Time, revoked ...*pair) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: next}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: r.cert.SerialNumber, RevocationTime: time.Now().Add(-time.Minute),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, p.cert, p.key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// write replaces a file by renaming.
func write(t testing.TB, path string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(path+".tmp", data, 0o600))
	must(t, os.Rename(path+".tmp", path))
}

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

// rig is a Manager with what tests look at.
type rig struct {
	t testing.TB
	*Manager
	registry *stats.Registry
	shard    *stats.Shard
	log      *journal
	clock    struct {
		sync.Mutex
		ahead time.Duration
	}
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, registry: stats.NewRegistry(), log: new(journal)}
	r.shard = r.registry.NewShard()
	r.Manager = New(Options{Registry: r.registry, Log: slog.New(slog.NewTextHandler(r.log, nil)), Now: r.time})
	t.Cleanup(r.Close)
	return r
}

func (r *rig) time() time.Time {
	r.clock.Lock()
	defer r.clock.Unlock()
	return time.Now().Add(r.clock.ahead)
}

func (r *rig) pass(d time.Duration) {
	r.clock.Lock()
	defer r.clock.Unlock()
	r.clock.ahead += d
}

func (r *rig) down(c *conf.DownstreamTLS) *Downstream {
	r.t.Helper()
	d, err := r.Downstream(c, "127.0.0.1:443", nil)
	must(r.t, err)
	return d
}

func (r *rig) up(c *conf.UpstreamTLS) *Upstream {
	r.t.Helper()
	u, err := r.Upstream(c, "c")
	must(r.t, err)
	return u
}

// counter reads one; -1 when there is none of the name.
func (r *rig) counter(name string) int {
	for _, c := range r.registry.Collect().Counters {
		if c.Name == name {
			return int(c.Value)
		}
	}
	return -1
}

// ssl reads a counter of the listener.
func (r *rig) ssl(name string) int { return r.counter("listener.127.0.0.1_443.ssl." + name) }

// want checks counters of the listener: "name", value, ...
func (r *rig) want(rows ...any) {
	r.t.Helper()
	for i := 0; i < len(rows); i += 2 {
		if got := r.ssl(rows[i].(string)); got != rows[i+1].(int) {
			r.t.Errorf("ssl.%s is %d, want %d", rows[i], got, rows[i+1])
		}
	}
}

// outcome is how a handshake ended on both sides.
type outcome struct {
	server, client       tls.ConnectionState
	serverErr, clientErr error
}

// shake makes a handshake, and a byte each way after it, so that tickets arrive and a
// client hears that its certificate was refused.
func shake(t testing.TB, server, client *tls.Config) outcome {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	var out outcome
	var done sync.WaitGroup
	done.Go(func() {
		raw, err := ln.Accept()
		if err != nil {
			out.serverErr = err
			return
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
		conn := tls.Server(raw, server)
		if out.serverErr = conn.Handshake(); out.serverErr == nil {
			out.server = conn.ConnectionState()
			_, out.serverErr = conn.Write([]byte{'x'})
			_, _ = io.ReadFull(conn, make([]byte, 1))
		}
	})
	raw, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	conn := tls.Client(raw, client)
	if out.clientErr = conn.Handshake(); out.clientErr == nil {
		out.client = conn.ConnectionState()
		_, out.clientErr = io.ReadFull(conn, make([]byte, 1))
		_, _ = conn.Write([]byte{'x'})
	}
	raw.Close()
	done.Wait()
	return out
}

// finish counts an outcome as the server's loop does.
func (r *rig) finish(d *Downstream, o outcome) outcome {
	if o.serverErr == nil {
		d.Stats().Finished(r.shard, &o.server)
	} else {
		d.Stats().Failed(r.shard, o.serverErr)
	}
	return o
}

// failed checks a failure's text.
func failed(t testing.TB, err error, want string) {
	t.Helper()
	if got := Failure(err); got != want {
		t.Errorf("failure %q (%v), want %q", got, err, want)
	}
}

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

// anyone is a client that verifies nothing.
func anyone(change ...func(*tls.Config)) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true}
	for _, f := range change {
		f(c)
	}
	return c
}

func asks(name string) func(*tls.Config) { return func(c *tls.Config) { c.ServerName = name } }

func presents(p *pair) func(*tls.Config) {
	return func(c *tls.Config) {
		one := p.tls()
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &one, nil }
	}
}

func only(version uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version }
}

// randomness is crypto/rand's.
type randomness struct{}

func (randomness) Read(p []byte) (int, error) { return rand.Read(p) }

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

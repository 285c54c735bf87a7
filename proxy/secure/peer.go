package secure

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Certificate is what logs and headers say of a certificate. Immutable.
type Certificate struct {
	// Subject and Issuer are RFC 2253 names: CN=a,O=b.
	Subject, Issuer string
	// Serial and the fingerprints are hexadecimal in lower case.
	Serial                       string
	Fingerprint256, Fingerprint1 string
	// Subject alternative names in their order.
	URIs, DNS, IPs, Emails []string
	NotBefore, NotAfter    time.Time

	raw []byte
}

// Describe reads the facts of a certificate. Some microseconds and a kilobyte.
func Describe(c *x509.Certificate) *Certificate {
	names := namesOf(c)
	sum256, sum1 := sha256.Sum256(c.Raw), sha1.Sum(c.Raw)
	return &Certificate{
		Subject: nameText(c.RawSubject), Issuer: nameText(c.RawIssuer), Serial: serialText(c.SerialNumber),
		Fingerprint256: hex.EncodeToString(sum256[:]), Fingerprint1: hex.EncodeToString(sum1[:]),
		URIs: names.byType[conf.SANURI], DNS: names.byType[conf.SANDNS], IPs: names.byType[conf.SANIP], Emails: names.byType[conf.SANEmail],
		NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		raw: c.Raw,
	}
}

// serialText prints whole bytes, as BoringSSL does.
func serialText(n *big.Int) string {
	if n.Sign() == 0 {
		return "0"
	}
	sign := ""
	if n.Sign() < 0 {
		sign = "-"
	}
	return sign + hex.EncodeToString(n.Bytes())
}

// URLEncodedPEM returns the certificate as %DOWNSTREAM_PEER_CERT% and
// x-forwarded-client-cert have it. Allocates twice its size.
func (c *Certificate) URLEncodedPEM() string { return urlEncodedPEM(c.raw) }

var pemEscapes = strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D")

func urlEncodedPEM(der []byte) string {
	return pemEscapes.Replace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// Peer is what logs, headers and rules ask about a connection with TLS. The
// certificates' facts are read when first asked for, and kept. Loop-owned: its
// connection's; what it returns is immutable.
type Peer struct {
	state  *tls.ConnectionState
	local  *Certificate
	remote *Certificate
}

// NewPeer describes a connection whose handshake is done. local is the certificate of
// this end, nil for none (Downstream.Local, Upstream.Local).
func NewPeer(state *tls.ConnectionState, local *Certificate) *Peer {
	return &Peer{state: state, local: local}
}

// Presented says whether the peer showed a certificate.
func (p *Peer) Presented() bool { return len(p.state.PeerCertificates) > 0 }

// Remote returns the peer's certificate, nil when it showed none.
func (p *Peer) Remote() *Certificate {
	if p.remote == nil && p.Presented() {
		p.remote = Describe(p.state.PeerCertificates[0])
	}
	return p.remote
}

// Local returns this end's certificate, nil when it has none.
func (p *Peer) Local() *Certificate { return p.local }

// Version returns the protocol version: TLSv1.3.
func (p *Peer) Version() string { return VersionName(p.state.Version) }

// Cipher returns the cipher suite by BoringSSL's name.
func (p *Peer) Cipher() string { return CipherName(p.state.CipherSuite) }

// ServerName returns the SNI of the handshake.
func (p *Peer) ServerName() string { return p.state.ServerName }

// ALPN returns the application protocol agreed upon, empty for none.
func (p *Peer) ALPN() string { return p.state.NegotiatedProtocol }

// XFCCFields are the parts of set_current_client_cert_details.
type XFCCFields struct{ Cert, Chain, Subject, URI, DNS bool }

// AppendXFCCElement appends an element of x-forwarded-client-cert that describes the
// connection (RT-103): By for each URI of our certificate, Hash, and the fields asked
// for. Nothing when the peer showed no certificate.
//
//	By=spiffe://mesh/proxy;Hash=0f3c...;Subject="CN=client,O=Example";URI=spiffe://mesh/client;DNS=client.test
//
// Subject and URI are there also when they are empty, as Envoy's are. A URI or name
// with a character that has a meaning in the header is quoted.
func (p *Peer) AppendXFCCElement(dst []byte, f XFCCFields) []byte {
	c := p.Remote()
	if c == nil {
		return dst
	}
	if p.local != nil {
		for _, uri := range p.local.URIs {
			dst = append(appendXFCCValue(append(dst, "By="...), uri), ';')
		}
	}
	dst = append(append(dst, "Hash="...), c.Fingerprint256...)
	if f.Cert {
		dst = append(append(append(dst, `;Cert="`...), c.URLEncodedPEM()...), '"')
	}
	if f.Chain {
		dst = append(dst, `;Chain="`...)
		for _, link := range p.state.PeerCertificates {
			dst = append(dst, urlEncodedPEM(link.Raw)...)
		}
		dst = append(dst, '"')
	}
	if f.Subject { // its own quotes are escaped already
		dst = append(append(append(dst, `;Subject="`...), c.Subject...), '"')
	}
	if f.URI {
		if len(c.URIs) == 0 {
			dst = append(dst, ";URI="...)
		}
		for _, uri := range c.URIs {
			dst = appendXFCCValue(append(dst, ";URI="...), uri)
		}
	}
	if f.DNS {
		for _, name := range c.DNS {
			dst = appendXFCCValue(append(dst, ";DNS="...), name)
		}
	}
	return dst
}

// appendXFCCValue appends what a certificate says, which is the peer's choice: a
// character that would end the value puts it in quotes, and one that cannot be in a
// header is escaped as in a URI.
func appendXFCCValue(dst []byte, v string) []byte {
	quote := strings.ContainsAny(v, `,;="`)
	if quote {
		dst = append(dst, '"')
	}
	const digits = "0123456789ABCDEF"
	for i := range len(v) {
		switch c := v[i]; {
		case c <= ' ' || c > '~':
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		case c == '"' || c == '\\' && quote:
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	if quote {
		dst = append(dst, '"')
	}
	return dst
}

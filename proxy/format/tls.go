package format

import (
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// compileTLS compiles an operator about a connection with TLS:
//
//	(DOWNSTREAM|UPSTREAM)_(TLS_fact | (PEER|LOCAL)_fact)
//
// What it asks for is unset on a plain connection, before the handshake is done, and of an end that
// has no certificate. ok is false for other operators. Nothing here allocates but CERT, once the
// peer's certificate has been described.
func compileTLS(c command) (o op, ok bool, err error) {
	peer := downstreamPeer
	rest, ok := strings.CutPrefix(c.name, "DOWNSTREAM_")
	if !ok {
		peer = upstreamPeer
		if rest, ok = strings.CutPrefix(c.name, "UPSTREAM_"); !ok {
			return op{}, false, nil
		}
	}
	switch rest {
	case "TLS_VERSION":
		return ofConnection(peer, (*secure.Peer).Version), true, c.plain(false)
	case "TLS_CIPHER":
		return ofConnection(peer, (*secure.Peer).Cipher), true, c.plain(false)
	case "TLS_SESSION_ID":
		// crypto/tls does not tell it; sessions resume by tickets anyway.
		return op{limit: -1, eval: appendNothing}, true, c.plain(false)
	}
	return compileCertificate(c, rest, peer)
}

// compileCertificate compiles (PEER|LOCAL)_fact.
func compileCertificate(c command, rest string, peer func(*streaminfo.Info) *secure.Peer) (o op, ok bool, err error) {
	which := (*secure.Peer).Remote
	fact, ok := strings.CutPrefix(rest, "PEER_")
	if !ok {
		which = (*secure.Peer).Local
		if fact, ok = strings.CutPrefix(rest, "LOCAL_"); !ok {
			return op{}, false, nil
		}
	}
	certificate := func(i *streaminfo.Info) *secure.Certificate {
		if p := peer(i); p != nil {
			return which(p)
		}
		return nil
	}
	if moment := certificateTimes[fact]; moment != nil {
		o, err = compileMoment(c, func(i *streaminfo.Info) (at time.Time, ok bool) {
			k := certificate(i)
			if k == nil {
				return at, false
			}
			return moment(k), true
		})
		return o, true, err
	}
	write := certificateFacts[fact]
	if write == nil {
		return op{}, false, nil
	}
	return op{limit: -1, eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		k := certificate(i)
		if k == nil {
			return dst, false
		}
		start := len(dst)
		dst = write(dst, k)
		return dst, len(dst) > start
	}}, true, c.plain(false)
}

// compileMoment compiles an operator whose argument is a time format, as START_TIME's, in UTC.
func compileMoment(c command, moment func(*streaminfo.Info) (at time.Time, ok bool)) (o op, err error) {
	if err := c.plain(true); err != nil {
		return o, err
	}
	layout := c.argument
	if layout == "" {
		layout = utcLayout
	}
	o = op{limit: -1, eval: func(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		at, ok := moment(i)
		if !ok {
			return dst, false
		}
		return o.appendMoment(dst, at.UTC()), true
	}}
	o.layout, err = compileLayout(layout)
	return o, err
}

func downstreamPeer(i *streaminfo.Info) *secure.Peer {
	if i.Conn == nil {
		return nil
	}
	return i.Conn.Peer()
}

func upstreamPeer(i *streaminfo.Info) *secure.Peer { return i.UpstreamPeer }

// ofConnection is an operator about what both ends agreed upon.
func ofConnection(peer func(*streaminfo.Info) *secure.Peer, fact func(*secure.Peer) string) op {
	return op{limit: -1, eval: func(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
		if p := peer(i); p != nil {
			return appendText(dst, fact(p))
		}
		return dst, false
	}}
}

// certificateTimes are the facts that take a time format, in UTC.
var certificateTimes = map[string]func(*secure.Certificate) time.Time{
	"CERT_V_START": func(k *secure.Certificate) time.Time { return k.NotBefore },
	"CERT_V_END":   func(k *secure.Certificate) time.Time { return k.NotAfter },
}

// certificateFacts write the others. A fact that is empty is unset.
var certificateFacts = map[string]func(dst []byte, k *secure.Certificate) []byte{
	"URI_SAN":   names(func(k *secure.Certificate) []string { return k.URIs }),
	"DNS_SAN":   names(func(k *secure.Certificate) []string { return k.DNS }),
	"IP_SAN":    names(func(k *secure.Certificate) []string { return k.IPs }),
	"EMAIL_SAN": names(func(k *secure.Certificate) []string { return k.Emails }),

	"SUBJECT":         oneOf(func(k *secure.Certificate) string { return k.Subject }),
	"ISSUER":          oneOf(func(k *secure.Certificate) string { return k.Issuer }),
	"SERIAL":          oneOf(func(k *secure.Certificate) string { return k.Serial }),
	"FINGERPRINT_256": oneOf(func(k *secure.Certificate) string { return k.Fingerprint256 }),
	"FINGERPRINT_1":   oneOf(func(k *secure.Certificate) string { return k.Fingerprint1 }),
	"CERT":            oneOf((*secure.Certificate).URLEncodedPEM),
}

func oneOf(fact func(*secure.Certificate) string) func([]byte, *secure.Certificate) []byte {
	return func(dst []byte, k *secure.Certificate) []byte { return append(dst, fact(k)...) }
}

// names joins alternative names with commas, as Envoy does. They are the peer's choice and, when its
// certificate is not verified, anyone's.
func names(list func(*secure.Certificate) []string) func([]byte, *secure.Certificate) []byte {
	return func(dst []byte, k *secure.Certificate) []byte {
		for n, name := range list(k) {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = appendPrintable(dst, name)
		}
		return dst
	}
}

// appendServerName writes the SNI that a listener filter has seen, else that of the handshake: the
// client's words as they came, here in lower case as the filter's, and with '_' for what is in no host
// name.
func appendServerName(_ *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	if i.Conn == nil {
		return dst, false
	}
	if name := i.Conn.ServerName(); len(name) > 0 {
		return append(dst, name...), true
	}
	p := i.Conn.Peer()
	if p == nil {
		return dst, false
	}
	name := p.ServerName()
	for n := range len(name) {
		c := name[n]
		switch {
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-':
		default:
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst, name != ""
}

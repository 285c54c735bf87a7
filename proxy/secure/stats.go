package secure

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Stats are the counters of the contexts of one listener or cluster. Loops move those
// of Finished and Failed on their shards, handshakes those of verification and stapling
// with atomics.
type Stats struct {
	ssl    *stats.SSLStats
	ocsp   *stats.OCSPStats      // nil upstream
	usage  *stats.ColdCounter    // was_key_usage_invalid; nil downstream
	socket *stats.SSLSocketStats // reloads
	names  [4]*stats.NameStats   // in the order of nameTables
}

var nameTables = [4]struct {
	part string
	list []named
}{
	{"ciphers.", ciphers}, {"versions.", versions}, {"curves.", curves}, {"sigalgs.", sigalgs},
}

func newStats(r *stats.Registry, scope string, downstream bool) *Stats {
	prefix := scope + "ssl."
	s := &Stats{ssl: stats.NewSSLStats(r, prefix)}
	if downstream {
		s.ocsp = stats.NewOCSPStats(r, prefix)
		s.socket = stats.NewSSLSocketStats(r, scope+"server_ssl_socket_factory.")
	} else {
		s.usage = r.ColdCounter(prefix + "was_key_usage_invalid")
		s.socket = stats.NewSSLSocketStats(r, scope+"client_ssl_socket_factory.")
	}
	for i, t := range nameTables {
		s.names[i] = stats.NewNameStats(r, prefix+t.part, namesIn(t.list))
	}
	return s
}

// Finished counts a handshake that completed. On sh's loop; allocates only the first
// time something occurs.
func (s *Stats) Finished(sh *stats.Shard, st *tls.ConnectionState) {
	sh.Inc(s.ssl.Handshake)
	if st.DidResume {
		sh.Inc(s.ssl.SessionReused)
	}
	if len(st.PeerCertificates) == 0 {
		sh.Inc(s.ssl.NoCertificate)
	}
	for i, id := range [4]uint16{st.CipherSuite, st.Version, uint16(st.CurveID), peerSignature(st)} {
		if at := index(nameTables[i].list, id); at >= 0 {
			s.names[i].Charge(sh, at)
		}
	}
}

// Failed counts a handshake that failed, or a connection that TLS ended, with err. On
// sh's loop. A refused certificate has been counted when it was, and a peer that just
// leaves (io.EOF, or no error: a timeout) is no error of TLS.
func (s *Stats) Failed(sh *stats.Shard, err error) {
	var refused *VerifyError
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &refused):
	case strings.Contains(err.Error(), noClientCertificate):
		sh.Inc(s.ssl.FailVerifyNoCert)
	default:
		sh.Inc(s.ssl.ConnectionError)
	}
}

// refused counts a certificate that did not verify. Any goroutine.
func (s *Stats) refused(kind VerifyKind) {
	switch kind {
	case VerifyChain:
		s.ssl.FailVerifyError.Inc()
	case VerifySAN:
		s.ssl.FailVerifySAN.Inc()
	case VerifyHash:
		s.ssl.FailVerifyCertHash.Inc()
	case VerifyKeyUsage:
		s.usage.Inc()
	}
}

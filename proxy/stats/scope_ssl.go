package stats

import "sync/atomic"

// SSLStats is listener.<address>.ssl. and cluster.<name>.ssl. (clusters.md 8). What the verification
// of certificates moves is cold: it runs off the loops.
type SSLStats struct {
	Handshake        Counter `stat:"handshake"`
	ConnectionError  Counter `stat:"connection_error"`
	NoCertificate    Counter `stat:"no_certificate"`
	SessionReused    Counter `stat:"session_reused"`
	FailVerifyNoCert Counter `stat:"fail_verify_no_cert"`

	FailVerifyError    *ColdCounter `stat:"fail_verify_error"`
	FailVerifySAN      *ColdCounter `stat:"fail_verify_san"`
	FailVerifyCertHash *ColdCounter `stat:"fail_verify_cert_hash"`
}

// NewSSLStats registers the names under prefix, which ends in "ssl.".
func NewSSLStats(r *Registry, prefix string) *SSLStats {
	s := new(SSLStats)
	register(r, prefix, s)
	return s
}

// OCSPStats is listener.<address>.ssl.ocsp_staple_.
type OCSPStats struct {
	OCSPStapleRequests  *ColdCounter `stat:"ocsp_staple_requests"`
	OCSPStapleResponses *ColdCounter `stat:"ocsp_staple_responses"`
	OCSPStapleOmitted   *ColdCounter `stat:"ocsp_staple_omitted"`
	OCSPStapleFailed    *ColdCounter `stat:"ocsp_staple_failed"`
}

// NewOCSPStats registers the names under prefix, which ends in "ssl.".
func NewOCSPStats(r *Registry, prefix string) *OCSPStats {
	s := new(OCSPStats)
	register(r, prefix, s)
	return s
}

// SSLSocketStats is listener.<address>.server_ssl_socket_factory. and
// cluster.<name>.client_ssl_socket_factory.: what became of changed certificate files.
type SSLSocketStats struct {
	SSLContextUpdateBySDS *ColdCounter `stat:"ssl_context_update_by_sds"`
	KeyRotationFailed     *ColdCounter `stat:"key_rotation_failed"`
}

// NewSSLSocketStats registers the names under prefix, which ends in a dot.
func NewSSLSocketStats(r *Registry, prefix string) *SSLSocketStats {
	s := new(SSLSocketStats)
	register(r, prefix, s)
	return s
}

// NameStats counts how often each of a few names occurs, as <prefix><name>. A name is registered when
// it first occurs.
//
// Shared by all loops; counting loads a word that the first loop to see the name has stored.
type NameStats struct {
	registry *Registry
	prefix   string
	names    []string
	counters []atomic.Uint32 // Counter by index in names, 0 not yet
}

// NewNameStats registers nothing yet. prefix ends in a dot.
func NewNameStats(r *Registry, prefix string, names []string) *NameStats {
	return &NameStats{registry: r, prefix: prefix, names: names, counters: make([]atomic.Uint32, len(names))}
}

// Charge counts names[i]. Runs on s's loop; allocates only the first time the name occurs.
func (n *NameStats) Charge(s *Shard, i int) {
	c := Counter(n.counters[i].Load())
	if c == 0 {
		c = n.registry.Counter(n.prefix + n.names[i]) // two loops at once get the same one
		n.counters[i].Store(uint32(c))
	}
	s.Inc(c)
}

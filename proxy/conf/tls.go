package conf

import "time"

// DataSource is core.v3.DataSource: bytes in a file, which is watched, or inline (inline_bytes,
// inline_string, and environment_variable as it was read). The zero value is none.
type DataSource struct {
	File   string
	Inline []byte
}

// Set says whether there is something.
func (d *DataSource) Set() bool { return d.File != "" || d.Inline != nil }

// TLSVersion is TlsParameters.TlsProtocol.
type TLSVersion uint8

// Versions; TLSAuto is TLS 1.2 at least, and at most TLS 1.3 for servers and 1.2 for clients.
const (
	TLSAuto TLSVersion = iota
	TLS10
	TLS11
	TLS12
	TLS13
)

// TLSParameters is transport_sockets.tls.v3.TlsParameters.
type TLSParameters struct {
	Minimum, Maximum TLSVersion
	// CipherSuites are for TLS up to 1.2, by crypto/tls's numbers; empty: its choice. Curves likewise.
	CipherSuites []uint16
	Curves       []uint16
}

// TLSCertificate is transport_sockets.tls.v3.TlsCertificate.
type TLSCertificate struct {
	Chain, Key DataSource
	Password   DataSource
	OCSPStaple DataSource
}

// SANType is SubjectAltNameMatcher.san_type.
type SANType uint8

// Types of subject alternative names.
const (
	SANEmail SANType = iota
	SANDNS
	SANURI
	SANIP
)

// SANMatcher matches one subject alternative name.
type SANMatcher struct {
	Type SANType
	Name StringMatcher
}

// CertificateValidation is transport_sockets.tls.v3.CertificateValidationContext: what a peer's
// certificate must be. All that is set must hold.
type CertificateValidation struct {
	// TrustedCA are the roots; none: the chain is not verified.
	TrustedCA DataSource
	// SPKI and Hashes pin certificates by the SHA-256 of their key or of themselves; one of them all
	// must match.
	SPKI, Hashes [][32]byte
	// SANs: one of them must match (match_typed_subject_alt_names).
	SANs         []SANMatcher
	CRL          DataSource
	OnlyLeafCRL  bool // only_verify_leaf_cert_crl
	AllowExpired bool // allow_expired_certificate
	// AcceptUntrusted lets a chain in that does not verify (trust_chain_verification ACCEPT_UNTRUSTED).
	AcceptUntrusted bool
	// MaxDepth is max_verify_depth when HasMaxDepth: intermediate certificates between leaf and root.
	MaxDepth    int
	HasMaxDepth bool
}

// CommonTLS is transport_sockets.tls.v3.CommonTlsContext.
type CommonTLS struct {
	Parameters   TLSParameters
	Certificates []*TLSCertificate
	Validation   *CertificateValidation // nil: a peer's certificate is not looked at
	ALPN         []string
}

// OCSPPolicy is DownstreamTlsContext.ocsp_staple_policy.
type OCSPPolicy uint8

// What happens without a valid staple.
const (
	OCSPLenient    OCSPPolicy = iota // serve without
	OCSPStrict                       // serve without if there is none, refuse an expired one
	OCSPMustStaple                   // refuse
)

// DownstreamTLS is transport_sockets.tls.v3.DownstreamTlsContext.
type DownstreamTLS struct {
	CommonTLS
	RequireClientCertificate bool
	RequireSNI               bool
	// SessionTickets says whether sessions resume by tickets. TicketKeys are the keys, 80 bytes each, the
	// first one encrypts; none: keys of this process, rotated daily.
	SessionTickets bool
	TicketKeys     []DataSource
	SessionTimeout time.Duration // 0: the library's
	OCSP           OCSPPolicy
	// FullScanCertsOnSNIMismatch looks for any usable certificate when none has the server name.
	FullScanCertsOnSNIMismatch bool
	// PreferClientCiphers is prefer_client_ciphers.
	PreferClientCiphers bool
}

// UpstreamTLS is transport_sockets.tls.v3.UpstreamTlsContext.
type UpstreamTLS struct {
	CommonTLS
	SNI string
	// AutoHostSNI takes the endpoint's hostname (auto_host_sni), AutoSANValidation demands a certificate
	// for the SNI in force (auto_sni_san_validation).
	AutoHostSNI       bool
	AutoSANValidation bool
	// MaxSessionKeys bounds the sessions kept for resumption; 1, 0 none.
	MaxSessionKeys uint32
	// EnforceRSAKeyUsage is enforce_rsa_key_usage.
	EnforceRSAKeyUsage bool
}

// TransportSocketMatch chooses a transport socket by endpoint metadata (Cluster.transport_socket_matches).
type TransportSocketMatch struct {
	Name string
	// Match are values that the endpoint's metadata envoy.transport_socket_match must have.
	Match LBMetadata
	TLS   *UpstreamTLS // nil: plain
	Proxy *UpstreamProxyProtocol
}

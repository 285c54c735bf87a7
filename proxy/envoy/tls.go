//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// tlsReady says that listeners and pools speak TLS; without it, it is refused. A variable for the tests,
// which run with it.
var tlsReady = true

const noTLS = "TLS is not part of this version"

func (c *compiler) downstreamTLS(m *tlsv3.DownstreamTlsContext, at place) *conf.DownstreamTLS {
	common := at.field("common_tls_context")
	if shared := m.GetCommonTlsContext(); len(shared.GetTlsCertificates())+len(shared.GetTlsCertificateSdsSecretConfigs()) == 0 {
		c.errs.at(common, "a certificate is required: tls_certificates or tls_certificate_sds_secret_configs")
	}
	shared, certificates := c.commonTLS(m.GetCommonTlsContext(), common, conf.TLS13, at)
	out := &conf.DownstreamTLS{
		CommonTLS:                  shared,
		RequireClientCertificate:   m.GetRequireClientCertificate().GetValue(),
		RequireSNI:                 m.GetRequireSni().GetValue(),
		SessionTickets:             !m.GetDisableStatelessSessionResumption(),
		SessionTimeout:             c.duration(m.GetSessionTimeout(), at.field("session_timeout"), 0).Truncate(time.Second),
		OCSP:                       conf.OCSPPolicy(m.GetOcspStaplePolicy()),
		FullScanCertsOnSNIMismatch: m.GetFullScanCertsOnSniMismatch().GetValue(),
		PreferClientCiphers:        m.GetPreferClientCiphers(),
	}
	for _, cert := range certificates {
		switch {
		case cert.conf.OCSPStaple.Set():
		case cert.mustStaple:
			c.errs.at(cert.at, "ocsp_staple is required: the certificate says that clients want one")
		case out.OCSP == conf.OCSPMustStaple:
			c.errs.at(cert.at, "ocsp_staple is required by ocsp_staple_policy MUST_STAPLE")
		}
	}
	c.clientCertificates(out, at)
	c.ticketKeys(m, at, out)
	return out
}

// clientCertificates says whether clients must show one: also when there is more than a root to check
// it by, as Envoy has it.
func (c *compiler) clientCertificates(out *conf.DownstreamTLS, at place) {
	v := out.Validation
	if out.RequireClientCertificate && (v == nil || !v.TrustedCA.Set() && len(v.SPKI)+len(v.Hashes) == 0) {
		c.warn(at.field("require_client_certificate"), "lets every certificate in: without a trusted_ca nobody verifies them")
	}
	if v != nil && !v.AcceptUntrusted && len(v.SANs)+len(v.SPKI)+len(v.Hashes) > 0 {
		out.RequireClientCertificate = true
	}
}

// ticketKeyBytes is the size of a session ticket key: 16 of name, 32 for the MAC, 32 for the cipher.
const ticketKeyBytes = 80

func (c *compiler) ticketKeys(m *tlsv3.DownstreamTlsContext, at place, out *conf.DownstreamTLS) {
	switch keys := m.GetSessionTicketKeysType().(type) {
	case *tlsv3.DownstreamTlsContext_SessionTicketKeys:
		out.TicketKeys = c.ticketKeyList(keys.SessionTicketKeys, at.field("session_ticket_keys"))
	case *tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig:
		s := c.secret(keys.SessionTicketKeysSdsSecretConfig, at.field("session_ticket_keys_sds_secret_config"), ticketKeysSecret)
		if s == nil {
			return
		}
		out.TicketKeys = s.ticketKeys
		m.SessionTicketKeysType = &tlsv3.DownstreamTlsContext_SessionTicketKeys{SessionTicketKeys: s.m.GetSessionTicketKeys()}
	}
}

func (c *compiler) ticketKeyList(m *tlsv3.TlsSessionTicketKeys, at place) (out []conf.DataSource) {
	for i, key := range m.GetKeys() {
		source := c.tlsSource(key, at.field("keys").index(i))
		if source.ok && len(source.data) != ticketKeyBytes {
			c.errs.at(source.at, "a session ticket key has %d bytes, not %d", ticketKeyBytes, len(source.data))
		}
		out = append(out, source.conf)
	}
	return out
}

func (c *compiler) upstreamTLS(m *tlsv3.UpstreamTlsContext, at place) *conf.UpstreamTLS {
	common := at.field("common_tls_context")
	shared, certificates := c.commonTLS(m.GetCommonTlsContext(), common, conf.TLS12, at)
	out := &conf.UpstreamTLS{
		CommonTLS: shared, SNI: m.GetSni(),
		AutoHostSNI: m.GetAutoHostSni(), AutoSANValidation: m.GetAutoSniSanValidation(),
		MaxSessionKeys:     number(m.GetMaxSessionKeys(), 1),
		EnforceRSAKeyUsage: m.GetEnforceRsaKeyUsage().GetValue(),
	}
	if len(certificates) > 1 {
		c.errs.at(certificates[1].named, "a cluster has one certificate")
	}
	if sni := at.field("sni"); out.SNI != "" {
		switch _, err := netip.ParseAddr(out.SNI); {
		case err == nil:
			c.warn(sni, "is not sent: an IP address is no server name") // RFC 6066 3
		case !validHost(out.SNI):
			c.errs.at(sni, "%s is not a host name", shorten(out.SNI))
		}
	}
	if out.AutoSANValidation && (out.Validation == nil || !out.Validation.TrustedCA.Set()) {
		c.errs.at(at.field("auto_sni_san_validation"), "needs a validation context with a trusted_ca: without it names prove nothing")
	}
	return out
}

// commonTLS compiles what servers and clients share; highest is the version that they go up to unless
// told, at the place of the whole context.
func (c *compiler) commonTLS(m *tlsv3.CommonTlsContext, common place, highest conf.TLSVersion, at place) (conf.CommonTLS, []certificate) {
	if !tlsReady {
		c.errs.at(at, "not supported: %s", noTLS)
	}
	certificates := c.certificates(m, common)
	out := conf.CommonTLS{
		Parameters: c.tlsParameters(m.GetTlsParams(), common.field("tls_params"), highest),
		Validation: c.validationContext(m, common),
		ALPN:       c.alpn(m.GetAlpnProtocols(), common.field("alpn_protocols")),
	}
	for _, cert := range certificates {
		out.Certificates = append(out.Certificates, cert.conf)
	}
	return out, certificates
}

// alpn compiles alpn_protocols; an entry may hold several, separated by commas.
func (c *compiler) alpn(list []string, at place) (out []string) {
	for i, entry := range list {
		for name := range strings.SplitSeq(entry, ",") {
			switch {
			case name == "" || len(name) > 255:
				c.errs.at(at.index(i), "an application protocol has 1 to 255 bytes") // RFC 7301 3.1
			case slices.Contains(out, name):
				c.errs.at(at.index(i), "%s is there twice", shorten(name))
			default:
				out = append(out, name)
			}
		}
	}
	return out
}

// clusterSockets compiles transport_socket and transport_socket_matches.
func (c *compiler) clusterSockets(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	out.TLS, out.ProxyProtocol = c.upstreamSocket(m.GetTransportSocket(), at.field("transport_socket"))
	caught := false
	for i, match := range m.GetTransportSocketMatches() {
		here := at.field("transport_socket_matches").index(i)
		if match.GetTransportSocket() == nil {
			c.errs.at(here, "transport_socket is required")
		}
		if caught {
			c.warn(here, "is never used: an entry before it matches every endpoint")
		}
		one := conf.TransportSocketMatch{Name: match.GetName(), Match: lbMetadata(match.GetMatch())}
		one.TLS, one.Proxy = c.upstreamSocket(match.GetTransportSocket(), here.field("transport_socket"))
		caught = caught || one.Match == nil
		out.SocketMatches = append(out.SocketMatches, one)
	}
}

// anySocket says whether a cluster has a transport socket that is so.
func anySocket(cluster *conf.Cluster, so func(*conf.UpstreamTLS, *conf.UpstreamProxyProtocol) bool) bool {
	return so(cluster.TLS, cluster.ProxyProtocol) || slices.ContainsFunc(cluster.SocketMatches, func(m conf.TransportSocketMatch) bool {
		return so(m.TLS, m.Proxy)
	})
}

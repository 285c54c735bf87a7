package envoy

import (
	"crypto/tls"
	"maps"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// cipherSuites are the suites of TLS 1.2 and before that crypto/tls has, by their OpenSSL names. Those
// with RC4 and 3DES are left out: nothing that speaks TLS 1.2 needs them.
var cipherSuites = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

// curves are the key exchanges that crypto/tls has, by their BoringSSL names.
var curves = map[string]uint16{
	"X25519":         uint16(tls.X25519),
	"P-256":          uint16(tls.CurveP256),
	"P-384":          uint16(tls.CurveP384),
	"P-521":          uint16(tls.CurveP521),
	"X25519MLKEM768": uint16(tls.X25519MLKEM768),
}

func (c *compiler) tlsParameters(m *tlsv3.TlsParameters, at place, highest conf.TLSVersion) conf.TLSParameters {
	out := conf.TLSParameters{
		Minimum: conf.TLSVersion(m.GetTlsMinimumProtocolVersion()), Maximum: conf.TLSVersion(m.GetTlsMaximumProtocolVersion()),
		CipherSuites: c.chosen(m.GetCipherSuites(), at.field("cipher_suites"), cipherSuites),
		Curves:       c.chosen(m.GetEcdhCurves(), at.field("ecdh_curves"), curves),
	}
	lowest, limit := out.Minimum, "tls_maximum_protocol_version"
	if lowest == conf.TLSAuto {
		lowest = conf.TLS12
	}
	if out.Maximum != conf.TLSAuto {
		highest = out.Maximum
	} else if highest == conf.TLS12 {
		limit = "the default of clusters"
	}
	name := func(v conf.TLSVersion) string { return tlsv3.TlsParameters_TlsProtocol(v).String() }
	switch {
	case lowest > highest:
		c.errs.at(at.field("tls_minimum_protocol_version"), "%s is higher than %s, %s", name(lowest), limit, name(highest))
	case lowest == conf.TLS13 && len(out.CipherSuites) > 0:
		c.warn(at.field("cipher_suites"), "has no effect: TLS 1.3 chooses for itself")
	}
	return out
}

// chosen looks names up. As BoringSSL reads them, an entry may hold several, separated by ':', and
// "[A|B]" groups those that the server leaves the choice of to the client.
func (c *compiler) chosen(list []string, at place, known map[string]uint16) (out []uint16) {
	for i, entry := range list {
		for part := range strings.SplitSeq(entry, ":") {
			group, grouped := strings.CutPrefix(part, "[")
			if grouped {
				group, grouped = strings.CutSuffix(group, "]")
			}
			names := []string{part}
			if grouped {
				names = strings.Split(group, "|")
			}
			for _, name := range names {
				id, ok := known[name]
				switch {
				case !ok:
					c.errs.at(at.index(i), "%s is not supported; supported: %s", shorten(name), alternatives(slices.Sorted(maps.Keys(known))))
				case !slices.Contains(out, id):
					out = append(out, id)
				}
			}
		}
	}
	return out
}

package admin

import (
	"net/http"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/proxy/secure"
)

// certs lists the certificates of all TLS contexts (admin.v3.Certificates).
func (s *Server) certs(w http.ResponseWriter, _ *http.Request) {
	contexts := s.o.Server.Certificates()
	list := make([]any, 0, len(contexts))
	for i := range contexts {
		list = append(list, map[string]any{"ca_cert": certificatesJSON(contexts[i].CACert), "cert_chain": certificatesJSON(contexts[i].CertChain)})
	}
	writeJSON(w, map[string]any{"certificates": list})
}

// certificatesJSON is a list of admin.v3.CertificateDetails. As Envoy's it has empty lists too, and
// 64-bit numbers are texts.
func certificatesJSON(all []secure.CertificateDetails) []any {
	out := make([]any, 0, len(all))
	for i := range all {
		d := &all[i]
		m := map[string]any{
			"path": d.Path, "serial_number": d.SerialNumber, "subject_alt_names": namesJSON(d.SubjectAltNames),
			"days_until_expiration": strconv.FormatUint(d.DaysUntilExpiration, 10),
			"valid_from":            timeJSON(d.ValidFrom), "expiration_time": timeJSON(d.ExpirationTime),
		}
		if d.OCSP != nil {
			m["ocsp_details"] = map[string]string{"valid_from": timeJSON(d.OCSP.ValidFrom), "expiration": timeJSON(d.OCSP.Expiration)}
		}
		out = append(out, m)
	}
	return out
}

func namesJSON(names []secure.SubjectAltName) []map[string]string {
	out := make([]map[string]string, 0, len(names))
	for _, n := range names {
		switch {
		case n.DNS != "":
			out = append(out, map[string]string{"dns": n.DNS})
		case n.URI != "":
			out = append(out, map[string]string{"uri": n.URI})
		case n.IPAddress != "":
			out = append(out, map[string]string{"ip_address": n.IPAddress})
		}
	}
	return out
}

// timeJSON is a google.protobuf.Timestamp.
func timeJSON(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

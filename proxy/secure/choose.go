package secure

import (
	"crypto/tls"
	"slices"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// chooser picks the certificate of a server for a client, as Envoy does:
//
//	server name: those that have it -> those with "*." and its parent -> all, if
//	             fullScan, else the first
//	none:        all
//
// and of several the first whose key is ECDSA, else the first at all, that the client
// can use and whose staple may be missing. Immutable once filled; any goroutine.
type chooser struct {
	all      []*identity
	byName   map[string][]*identity // lower case; "*.a.b" as ".a.b"
	policy   conf.OCSPPolicy
	fullScan bool
	now      func() time.Time
}

// add enters a certificate under its DNS names, or its common name if it has none.
func (c *chooser) add(id *identity) {
	c.all = append(c.all, id)
	if c.byName == nil {
		c.byName = make(map[string][]*identity)
	}
	names := id.facts.DNS
	if len(names) == 0 && id.leaf().Subject.CommonName != "" {
		names = []string{id.leaf().Subject.CommonName}
	}
	for _, name := range names {
		key := strings.ToLower(name)
		if rest, wild := strings.CutPrefix(key, "*."); wild {
			key = "." + rest
		}
		c.byName[key] = append(c.byName[key], id)
	}
}

// choose never returns nil: a certificate that does not fit makes crypto/tls say so.
func (c *chooser) choose(h *tls.ClientHelloInfo) *identity {
	if len(c.all) == 1 {
		return c.all[0]
	}
	client := *h
	client.ServerName = "" // SupportsCertificate would insist on the name
	wants := wantsStaple(h)
	return c.find(h.ServerName, func(id *identity) bool {
		if wants && id.stapling(c.policy, c.now()) == stapleFail {
			return false
		}
		return client.SupportsCertificate(id.bare) == nil
	})
}

// again chooses for a connection whose handshake is done.
func (c *chooser) again(st *tls.ConnectionState) *identity {
	if len(c.all) == 1 {
		return c.all[0]
	}
	ecdsa := st.Version >= tls.VersionTLS13 || strings.HasPrefix(CipherName(st.CipherSuite), "ECDHE-ECDSA-")
	return c.find(st.ServerName, func(id *identity) bool { return st.Version >= tls.VersionTLS13 || id.ecdsa == ecdsa })
}

func (c *chooser) find(serverName string, fits func(*identity) bool) *identity {
	if serverName != "" {
		name := strings.ToLower(serverName)
		if id := best(c.byName[name], fits); id != nil {
			return id
		}
		if dot := strings.IndexByte(name, '.'); dot > 0 {
			if id := best(c.byName[name[dot:]], fits); id != nil {
				return id
			}
		}
		if !c.fullScan {
			return c.all[0]
		}
	}
	if id := best(c.all, fits); id != nil {
		return id
	}
	return c.all[0]
}

func best(list []*identity, fits func(*identity) bool) *identity {
	var first *identity
	for _, id := range list {
		switch {
		case !id.ecdsa && first != nil, !fits(id):
		case id.ecdsa:
			return id
		default:
			first = id
		}
	}
	return first
}

// wantsStaple says whether the client can use an OCSP response.
func wantsStaple(h *tls.ClientHelloInfo) bool { return slices.Contains(h.Extensions, statusRequest) }

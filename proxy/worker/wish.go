package worker

import (
	"bytes"
	"encoding/binary"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Wish is what a request or a session asks of the TLS to its host, besides what the cluster's context
// says. Requests of different wishes do not share a connection. The zero value wishes nothing.
type Wish struct {
	// ServerName is the SNI, ALPN the application protocols, separated by commas, and SANs the names, of
	// which the certificate must have one; nil for what the cluster's context says.
	ServerName, ALPN, SANs []byte
	// Preface is sent before the handshake, in plain; of TCP sessions only.
	Preface []byte
}

const (
	// maxWishes bounds for how many wishes an endpoint keeps pools on one loop: clients may be who names
	// the server (auto_sni).
	maxWishes = 128
	// maxWishBytes bounds the texts of one. A host name has 253 bytes.
	maxWishBytes = 1024
)

// AcquireFor is Acquire for a request with a wish, which is copied. It also reports false when the wish is
// too long, and when there are too many that have requests under way. A wish that was not there for long
// takes the place of the one that was not asked for the longest. No allocation when the wish has a pool.
func (e *Endpoint) AcquireFor(r *pool.Request, priority int, v header.Version, s Sessions, wish *Wish) bool {
	if e.Host.Secure == nil {
		return e.own.acquire(r, priority, v, s)
	}
	w := e.up.w
	w.wish = wish.appendKey(w.wish[:0])
	p := e.wished[string(w.wish)]
	if p == nil {
		if p = e.newPools(wish, w.wish); p == nil {
			w.Stats.Inc(e.up.C.Stats.UpstreamCxPoolOverflow)
			return false
		}
	}
	p.usedNs = w.Loop.Now()
	return p.acquire(r, priority, v, s)
}

// appendKey appends what tells the wish from others: | length (2) | name | length (2) | ALPN | SANs |.
func (w *Wish) appendKey(dst []byte) []byte {
	dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(w.ServerName))), w.ServerName...)
	dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(w.ALPN))), w.ALPN...)
	return append(dst, w.SANs...)
}

// newPools makes room for a wish, nil when there is none.
func (e *Endpoint) newPools(wish *Wish, key []byte) *pools {
	if len(key) > maxWishBytes {
		return nil
	}
	if len(e.wished) >= maxWishes {
		oldest, at := e.oldestUnused(anyPriority)
		if oldest == nil {
			return nil
		}
		oldest.drain()
		delete(e.wished, at)
	}
	if e.wished == nil {
		e.wished = make(map[string]*pools)
	}
	p := &pools{e: e, wish: &Wish{ServerName: bytes.Clone(wish.ServerName), ALPN: bytes.Clone(wish.ALPN), SANs: bytes.Clone(wish.SANs)}}
	e.wished[string(key)] = p
	return p
}

const anyPriority = -1

// oldestUnused returns the pools of a wish that nobody has now, and among them those not asked for the
// longest; nil when all have requests. priority narrows it to those that have a pool of it.
func (e *Endpoint) oldestUnused(priority int) (oldest *pools, at string) {
	for key, p := range e.wished {
		if priority != anyPriority && !p.has(priority) || !p.unused() {
			continue
		}
		if oldest == nil || p.usedNs < oldest.usedNs {
			oldest, at = p, key
		}
	}
	return oldest, at
}

// evict ends the pools of the wish that was not asked for the longest of all this loop's hosts of the
// cluster, of those that nobody has now and that count against a priority. False when there are none.
func (u *Upstream) evict(priority int) bool {
	var oldest *pools
	var at string
	for _, e := range u.endpoints {
		if p, key := e.oldestUnused(priority); p != nil && (oldest == nil || p.usedNs < oldest.usedNs) {
			oldest, at = p, key
		}
	}
	if oldest == nil {
		return false
	}
	oldest.drain()
	delete(oldest.e.wished, at)
	return true
}

// FromState takes over what filter state says (tcp_proxy.md 11), and reports whether that is anything.
func (w *Wish) FromState(s *streaminfo.FilterState) (any bool) {
	for _, part := range [...]struct {
		key  string
		into *[]byte
	}{
		{streaminfo.KeyUpstreamServerName, &w.ServerName}, {streaminfo.KeyUpstreamALPN, &w.ALPN}, {streaminfo.KeyUpstreamSANs, &w.SANs},
	} {
		if v, ok := s.Get(part.key); ok && len(v) > 0 {
			*part.into, any = v, true
		}
	}
	return any
}

package localratelimit

import (
	"fmt"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/route"
)

// maker makes one descriptor of a request: a list of keys and values, as bytes, compared with those that
// have buckets. Immutable.
type maker struct{ actions []action }

type action struct {
	*conf.RateLimitAction
	name    match.Name
	headers []match.Header
}

func newMaker(c *conf.RateLimit) (m maker, err error) {
	for i := range c.Actions {
		a := action{RateLimitAction: &c.Actions[i]}
		switch a.Kind {
		case conf.RateLimitRequestHeader:
			if err = match.CheckName(a.Header); err != nil {
				return m, fmt.Errorf("actions[%d].request_headers.header_name: %w", i, err)
			}
			a.name = match.NewName(a.Header)
		case conf.RateLimitHeaderValueMatch:
			if a.headers, err = match.CompileHeaders(a.Headers, "headers"); err != nil {
				return m, fmt.Errorf("actions[%d].header_value_match.%w", i, err)
			}
		}
		m.actions = append(m.actions, a)
	}
	return m, nil
}

// appendEntry writes one part so that no two different descriptors read the same: lengths in front.
func appendEntry(dst []byte, key string, value []byte) []byte {
	dst = append(dst, byte(len(key)>>8), byte(len(key)))
	dst = append(dst, key...)
	dst = append(dst, byte(len(value)>>8), byte(len(value)))
	return append(dst, value...)
}

// append writes the request's descriptor; false when an action has nothing to say.
func (m *maker) append(dst []byte, s filter.Stream) ([]byte, bool) {
	h := s.Request()
	for i := range m.actions {
		a := &m.actions[i]
		switch a.Kind {
		case conf.RateLimitGenericKey:
			dst = appendEntry(dst, a.Key, []byte(a.Value))
		case conf.RateLimitRequestHeader:
			v, ok := a.name.First(h)
			if !ok {
				if a.SkipAbsent {
					continue
				}
				return dst, false
			}
			dst = appendEntry(dst, a.Key, v)
		case conf.RateLimitRemoteAddress:
			ip := s.Info().RemoteAddress.Addr()
			if !ip.IsValid() {
				return dst, false
			}
			var text [64]byte
			dst = appendEntry(dst, a.Key, ip.AppendTo(text[:0]))
		case conf.RateLimitHeaderValueMatch:
			var scratch []byte
			if match.AllHold(a.headers, h, &scratch) != a.Expect {
				return dst, false
			}
			dst = appendEntry(dst, a.Key, []byte(a.Value))
		case conf.RateLimitSourceCluster:
			dst = appendEntry(dst, a.Key, []byte(a.Value))
		case conf.RateLimitDestinationCluster:
			r := s.Route()
			if r.Kind != route.Forward {
				return dst, false
			}
			dst = appendEntry(dst, a.Key, r.Target.Cluster(h))
		}
	}
	return dst, true
}

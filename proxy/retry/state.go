package retry

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// State is what one request still may do after a try went wrong. Loop-owned, reused after Reset. The zero
// value never retries.
type State struct {
	policy *Policy // nil: only the request's headers ask for retries
	on     Conditions
	left   uint32
	// Retries counts the retries decided on.
	Retries uint32

	codes codeSet // x-envoy-retriable-status-codes
	names []byte  // x-envoy-retriable-header-names
}

// Options say how the project's choices among the readings of Envoy's words are set (AMB-1, AMB-7).
type Options struct {
	// HeaderWins: x-envoy-max-retries replaces the policy's number in place of the larger one counting.
	HeaderWins bool
	// OverloadedRetries: a response with x-envoy-overloaded is judged like any other.
	OverloadedRetries bool
}

// Reset empties s; what it holds on to is bounded.
func (s *State) Reset() {
	names := s.names[:0]
	if cap(names) > maxKeptNames {
		names = nil
	}
	*s = State{names: names}
}

const maxKeptNames = 512

// Asked says whether h has a header that asks for retries. Cheap.
func Asked(h *header.Head) bool {
	return h.Has(header.XEnvoyRetryOn) || h.Has(header.XEnvoyRetryGrpcOn)
}

// Begin reads what the policy, which may be nil, and the request's headers say, and reports whether there
// are retries at all (ROUTER-20 to 22). The headers stay; see RemoveHeaders. scratch serves matchers.
func (s *State) Begin(p *Policy, h *header.Head, o Options, scratch *[]byte) bool {
	s.policy, s.left = p, 1
	if p != nil {
		s.on, s.left, s.codes = p.On, p.Config.Retries, p.codes
	}
	for i := h.Index(header.XEnvoyRetryOn); i >= 0; i = h.Next(i) {
		c, _ := ParseHTTP(h.Bytes(h.Fields[i].Value))
		s.on |= c
	}
	for i := h.Index(header.XEnvoyRetryGrpcOn); i >= 0; i = h.Next(i) {
		c, _ := ParseGRPC(h.Bytes(h.Fields[i].Value))
		s.on |= c
	}
	if s.on == 0 || !s.requestAllows(h, scratch) {
		s.on = 0
		return false
	}
	if n, ok := parseCount(h.Get(header.XEnvoyMaxRetries)); ok {
		if p != nil && p.Config.HasRetries && !o.HeaderWins {
			n = max(n, p.Config.Retries)
		}
		s.left = n
	}
	if s.on&OnStatusCodes != 0 {
		for i := h.Index(header.XEnvoyRetriableStatusCodes); i >= 0; i = h.Next(i) {
			s.addCodes(h.Bytes(h.Fields[i].Value))
		}
	}
	if s.on&OnHeaders != 0 {
		for i := h.Index(header.XEnvoyRetriableHeaderNames); i >= 0; i = h.Next(i) {
			s.names = append(append(s.names, h.Bytes(h.Fields[i].Value)...), ',')
		}
	}
	return true
}

// RemoveHeaders takes the headers off that Begin reads: they were for this proxy (router.md 2).
func RemoveHeaders(h *header.Head) {
	for _, id := range [...]header.Known{
		header.XEnvoyRetryOn, header.XEnvoyRetryGrpcOn, header.XEnvoyMaxRetries, header.XEnvoyRetriableStatusCodes, header.XEnvoyRetriableHeaderNames,
	} {
		h.Remove(id)
	}
}

func (s *State) requestAllows(h *header.Head, scratch *[]byte) bool {
	if s.policy == nil || len(s.policy.requestHeaders) == 0 {
		return true
	}
	return anyHolds(s.policy.requestHeaders, h, scratch)
}

func anyHolds(list []match.Header, h *header.Head, scratch *[]byte) bool {
	for i := range list {
		if list[i].Holds(h, scratch) {
			return true
		}
	}
	return false
}

func (s *State) addCodes(list []byte) {
	for len(list) > 0 {
		one := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			one, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		if n, ok := parseCount(bytes.TrimSpace(one)); ok && n >= leastCode && n <= mostCode {
			s.codes.add(uint16(n))
		}
	}
}

// parseCount reads a decimal that fits in 32 bits.
func parseCount(b []byte) (uint32, bool) {
	n := uint64(0)
	for _, c := range b {
		if c < '0' || c > '9' || n > 1<<32 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), len(b) > 0 && n < 1<<32
}

// Active says whether there are retries at all.
func (s *State) Active() bool { return s.on != 0 }

// Left returns how many retries are left.
func (s *State) Left() uint32 { return s.left }

// Breaker bounds the retries of a cluster at a time (ROUTER-35, ROUTER-36). A TryRetry that says yes is
// the caller's to release.
type Breaker interface{ TryRetry() bool }

// Verdict is what comes of the wish for another try.
type Verdict uint8

const (
	// No: there is none, and nothing to count (upstream.use_retry).
	No Verdict = iota
	// Yes: there is one. The breaker has counted it.
	Yes
	// Exhausted: there have been as many as there may be (URX).
	Exhausted
	// Overflow: the cluster has as many retries under way as it may (UO).
	Overflow
)

// String returns the name.
func (v Verdict) String() string { return [...]string{"no", "yes", "exhausted", "overflow"}[v] }

// Decide says whether a try that is worth another one gets it (ROUTER-23). allowed is what
// upstream.use_retry says of this request; it comes first (AMB-19).
func (s *State) Decide(allowed bool, b Breaker) Verdict {
	switch {
	case !allowed:
		return No
	case s.left == 0:
		return Exhausted
	}
	s.left--
	if !b.TryRetry() {
		return Overflow
	}
	s.Retries++
	return Yes
}

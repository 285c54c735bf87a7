// Package tokenbucket is a token bucket that all loops share without a lock.
package tokenbucket

import (
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// Spec is type.v3.TokenBucket.
type Spec struct {
	MaxTokens, TokensPerFill uint32
	FillInterval             time.Duration
}

// Bucket hands out tokens to all loops. It begins full and is filled by whole intervals of the loop
// clock, which all loops read alike, whenever somebody takes a token: there is no timer.
//
//	state: | interval of the last fill, 32 bits | tokens, 32 bits |
//
// At 50 ms the interval's number comes round after 6.8 years.
type Bucket struct {
	Spec
	state atomic.Uint64
}

// New returns a full bucket.
func New(spec Spec) *Bucket {
	b := &Bucket{Spec: spec}
	b.state.Store(uint64(spec.MaxTokens)) // full since the clock began
	return b
}

// Take takes a token; false when there is none. nowNs is the loop's clock.
func (b *Bucket) Take(nowNs int64) bool {
	interval := uint32(nowNs / int64(b.FillInterval))
	for {
		old := b.state.Load()
		last, tokens := uint32(old>>32), old&(1<<32-1)
		// A loop whose clock was read a little earlier finds an interval that another has filled.
		if passed := int32(interval - last); passed > 0 {
			tokens = min(uint64(b.MaxTokens), tokens+uint64(passed)*uint64(b.TokensPerFill))
			last = interval
		}
		if tokens == 0 {
			return false
		}
		if b.state.CompareAndSwap(old, uint64(last)<<32|(tokens-1)) {
			return true
		}
	}
}

// Buckets are the token buckets that several filters share: those with the same share_key and the same
// token_bucket, also over changes of the configuration. There is one for a server; the zero value is
// ready. A bucket lives as long as some filter has it. Safe for concurrent use.
type Buckets struct {
	mu    sync.Mutex
	byKey map[bucketKey]weak.Pointer[Bucket]
}

type bucketKey struct {
	share string
	spec  Spec
}

// Shared returns the bucket of a key and spec.
func (s *Buckets) Shared(key string, spec Spec) *Bucket {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := bucketKey{key, spec}
	if b := s.byKey[k].Value(); b != nil {
		return b
	}
	for k, p := range s.byKey {
		if p.Value() == nil {
			delete(s.byKey, k)
		}
	}
	if s.byKey == nil {
		s.byKey = make(map[bucketKey]weak.Pointer[Bucket])
	}
	b := New(spec)
	s.byKey[k] = weak.Make(b)
	return b
}

// Tokens says how many there are, nowNs being the loop's clock, without taking one.
func (b *Bucket) Tokens(nowNs int64) uint32 {
	old := b.state.Load()
	last, tokens := uint32(old>>32), old&(1<<32-1)
	if passed := int32(uint32(nowNs/int64(b.FillInterval)) - last); passed > 0 {
		tokens = min(uint64(b.MaxTokens), tokens+uint64(passed)*uint64(b.TokensPerFill))
	}
	return uint32(tokens)
}

// NextFill returns how long it is until the next tokens come.
func (b *Bucket) NextFill(nowNs int64) time.Duration {
	return b.FillInterval - time.Duration(nowNs%int64(b.FillInterval))
}

package network

import (
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// bucketSpec is type.v3.TokenBucket.
type bucketSpec struct {
	maxTokens, tokensPerFill uint32
	fillInterval             time.Duration
}

// bucket hands out tokens to all loops. It begins full and is filled by whole intervals of the loop
// clock, which all loops read alike, whenever somebody takes a token: there is no timer.
//
//	state: | interval of the last fill, 32 bits | tokens, 32 bits |
//
// At 50 ms the interval's number comes round after 6.8 years.
type bucket struct {
	bucketSpec
	state atomic.Uint64
}

func newBucket(spec bucketSpec) *bucket {
	b := &bucket{bucketSpec: spec}
	b.state.Store(uint64(spec.maxTokens)) // full since the clock began
	return b
}

// take takes a token; false when there is none. nowNs is the loop's clock.
func (b *bucket) take(nowNs int64) bool {
	interval := uint32(nowNs / int64(b.fillInterval))
	for {
		old := b.state.Load()
		last, tokens := uint32(old>>32), old&(1<<32-1)
		// A loop whose clock was read a little earlier finds an interval that another has filled.
		if passed := int32(interval - last); passed > 0 {
			tokens = min(uint64(b.maxTokens), tokens+uint64(passed)*uint64(b.tokensPerFill))
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
	byKey map[bucketKey]weak.Pointer[bucket]
}

type bucketKey struct {
	share string
	spec  bucketSpec
}

func (s *Buckets) shared(key string, spec bucketSpec) *bucket {
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
		s.byKey = make(map[bucketKey]weak.Pointer[bucket])
	}
	b := newBucket(spec)
	s.byKey[k] = weak.Make(b)
	return b
}

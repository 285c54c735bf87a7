package tokenbucket

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Buckets that no filter has any more are forgotten, so changes of the configuration leave nothing behind.
func TestUnusedBucketsAreForgotten(t *testing.T) {
	s := new(Buckets)
	spec := Spec{MaxTokens: 1, TokensPerFill: 1, FillInterval: time.Second}
	kept := s.Shared("kept", spec)
	kept.Take(0)
	for _, key := range []string{"a", "b", "c"} {
		s.Shared(key, spec)
	}
	for deadline := time.Now().Add(10 * time.Second); ; runtime.GC() {
		s.Shared("new", Spec{MaxTokens: uint32(time.Now().UnixNano()), TokensPerFill: 1, FillInterval: time.Second}) // looks for unused ones
		s.mu.Lock()
		n := len(s.byKey)
		s.mu.Unlock()
		if n <= 3 { // kept, and at most the new ones of this round and the last
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d buckets are kept", n)
		}
	}
	if s.Shared("kept", spec) != kept || kept.Take(0) {
		t.Error("a bucket in use was forgotten")
	}
	runtime.KeepAlive(kept)
}

func TestBucketFillsByWholeIntervals(t *testing.T) {
	const s = int64(time.Second)
	b := New(Spec{MaxTokens: 3, TokensPerFill: 2, FillInterval: time.Second})
	for _, step := range []struct {
		atNs int64
		want string // of five takes
	}{
		{100*s + s/2, "yyynn"}, // begins full
		{101*s - 1, "nnnnn"},
		{101 * s, "yynnn"},
		{100 * s, "nnnnn"}, // another loop's clock, read before
		{101*s + s/2, "nnnnn"},
		{102 * s, "yynnn"},
		{110 * s, "yyynn"}, // no more than it holds
		{1 << 62, "yyynn"},
	} {
		got := ""
		for range 5 {
			if b.Take(step.atNs) {
				got += "y"
			} else {
				got += "n"
			}
		}
		if got != step.want {
			t.Errorf("at %v: %s, want %s", time.Duration(step.atNs), got, step.want)
		}
	}
}

// However it is asked, in any run of intervals a bucket gives at most what it holds and what it was
// filled with, and after an interval without a question it has a token.
func TestBucketProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := Spec{MaxTokens: rapid.Uint32Range(1, 6).Draw(t, "max"), TokensPerFill: rapid.Uint32Range(1, 8).Draw(t, "fill"), FillInterval: time.Second}
		b := New(spec)
		now := rapid.Int64Range(0, 1<<50).Draw(t, "begin")
		var given []int64 // intervals
		for range rapid.IntRange(1, 60).Draw(t, "questions") {
			step := rapid.Int64Range(0, int64(5*time.Second/2)).Draw(t, "step")
			asked := now
			now += step
			jitter := rapid.Int64Range(0, min(now, int64(3*time.Millisecond))).Draw(t, "jitter")
			ok := b.Take(now - jitter)
			if !ok && step-jitter >= 2*int64(time.Second) {
				t.Fatalf("no token at %d, though nobody asked since %d", now, asked)
			}
			if ok {
				given = append(given, now/int64(time.Second))
			}
			for i := range given {
				limit := int64(spec.MaxTokens) + (given[len(given)-1]-given[i]+1)*int64(spec.TokensPerFill)
				if n := int64(len(given) - i); n > limit {
					t.Fatalf("%d tokens in %d intervals", n, given[len(given)-1]-given[i]+1)
				}
			}
		}
	})
}

// Loops that ask at the same time get every token of an interval, and none twice.
func TestBucketUnderContention(t *testing.T) {
	const loops = 8
	b := New(Spec{MaxTokens: 100, TokensPerFill: 40, FillInterval: time.Second})
	for interval := range int64(50) {
		var n atomic.Int64
		var wait sync.WaitGroup
		for range loops {
			wait.Go(func() {
				for b.Take(interval * int64(time.Second)) {
					n.Add(1)
				}
			})
		}
		wait.Wait()
		want := int64(40)
		if interval == 0 {
			want = 100
		}
		if n.Load() != want {
			t.Fatalf("interval %d gave %d tokens, want %d", interval, n.Load(), want)
		}
	}
}

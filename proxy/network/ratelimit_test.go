package network

import (
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

func rateConf() *conf.NetworkLocalRateLimit {
	return &conf.NetworkLocalRateLimit{StatPrefix: "p", MaxTokens: 3, TokensPerFill: 1, FillInterval: time.Hour}
}

func newRate(t testing.TB, c *conf.NetworkLocalRateLimit, d Deps) Filter {
	return compile(t, &conf.NetworkFilter{LocalRateLimit: c}, d)
}

func TestLocalRateLimitTakesATokenForEachConnection(t *testing.T) {
	r := stats.NewRegistry()
	a, b := newLoop(r), newLoop(r)
	f := newRate(t, rateConf(), deps(r))
	for i, c := range []*Connection{a, b, b, a, b} {
		want := Verdict{}
		if i >= 3 {
			want = Verdict{Close: true, Reason: reason.ConnectionRateLimited}
		}
		if v := c.try(f, connection()); v != want {
			t.Errorf("connection %d: %+v, want %+v", i, v, want)
		}
	}
	wantValues(t, r, map[string]int64{"local_rate_limit.p.rate_limited": 2})
	if reason.ConnectionRateLimited.Entry().Flag != reason.RateLimited {
		t.Error("the log does not show RL")
	}
}

func TestLocalRateLimitRuntimeEnabled(t *testing.T) {
	for _, row := range []struct {
		title       string
		enabled     conf.Fraction
		runtime     string
		least, most int // of 1000 connections that 3 tokens leave over
	}{
		{"on unless it says otherwise", conf.Fraction{}, "", 997, 997},
		{"on", conf.Fraction{Numerator: 100, Denominator: 100}, "", 997, 997},
		{"off", conf.Fraction{Denominator: 100}, "", 0, 0},
		{"half of the connections", conf.Fraction{Numerator: 5000, Denominator: 10000}, "", 400, 600},
		{"off, on by runtime", conf.Fraction{Denominator: 100}, "true", 997, 997},
		{"on, off by runtime", conf.Fraction{Numerator: 100, Denominator: 100}, "false", 0, 0},
		{"on, off by runtime, in percent", conf.Fraction{Numerator: 100, Denominator: 100}, "0", 0, 0},
		{"on, a quarter by runtime", conf.Fraction{Numerator: 100, Denominator: 100}, "25", 170, 330},
		{"a runtime value that says nothing", conf.Fraction{Denominator: 100}, "maybe", 0, 0},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := stats.NewRegistry()
			c, rate, d := newLoop(r), rateConf(), deps(r)
			rate.Enabled, rate.RuntimeKey = row.enabled, "limit.on"
			if row.runtime != "" {
				d.Runtime = runtime.New(nil, nil)
				d.Runtime.Apply([]conf.RuntimeLayer{{Name: "static", Values: map[string]string{"limit.on": row.runtime}}}, "")
			}
			f, refused := newRate(t, rate, d), 0
			for range 1000 {
				if c.try(f, connection()).Close {
					refused++
				}
			}
			if refused < row.least || refused > row.most {
				t.Errorf("%d of 1000 refused, want %d to %d", refused, row.least, row.most)
			}
		})
	}
}

func TestLocalRateLimitsShareABucket(t *testing.T) {
	r := stats.NewRegistry()
	d := deps(r)
	with := func(key string, tokens uint32) *rateLimit {
		c := rateConf()
		c.ShareKey, c.MaxTokens = key, tokens
		return newRate(t, c, d).(*rateLimit)
	}
	first := with("k", 3)
	for _, row := range []struct {
		title  string
		f      *rateLimit
		shared bool
	}{
		{"the same key and bucket", with("k", 3), true},
		{"another key", with("l", 3), false},
		{"another bucket", with("k", 4), false},
		{"no key", with("", 3), false},
	} {
		if got := row.f.bucket == first.bucket; got != row.shared {
			t.Errorf("%s: shared %v, want %v", row.title, got, row.shared)
		}
	}
	if one, other := with("", 3), with("", 3); one.bucket == other.bucket {
		t.Error("filters without a key share")
	}
	c, second := newLoop(r), with("k", 3)
	n := 0
	for i := range 6 {
		if f := []*rateLimit{first, second}[i%2]; !c.try(f, connection()).Close {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d connections for 3 tokens", n)
	}
}

// Buckets that no filter has any more are forgotten, so changes of the configuration leave nothing behind.
func TestUnusedBucketsAreForgotten(t *testing.T) {
	s := new(Buckets)
	spec := bucketSpec{1, 1, time.Second}
	kept := s.shared("kept", spec)
	kept.take(0)
	for _, key := range []string{"a", "b", "c"} {
		s.shared(key, spec)
	}
	for deadline := time.Now().Add(10 * time.Second); ; goruntime.GC() {
		s.shared("new", bucketSpec{uint32(time.Now().UnixNano()), 1, time.Second}) // looks for unused ones
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
	if s.shared("kept", spec) != kept || kept.take(0) {
		t.Error("a bucket in use was forgotten")
	}
	goruntime.KeepAlive(kept)
}

func TestBucketFillsByWholeIntervals(t *testing.T) {
	const s = int64(time.Second)
	b := newBucket(bucketSpec{3, 2, time.Second})
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
			if b.take(step.atNs) {
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
		spec := bucketSpec{rapid.Uint32Range(1, 6).Draw(t, "max"), rapid.Uint32Range(1, 8).Draw(t, "fill"), time.Second}
		b := newBucket(spec)
		now := rapid.Int64Range(0, 1<<50).Draw(t, "begin")
		var given []int64 // intervals
		for range rapid.IntRange(1, 60).Draw(t, "questions") {
			step := rapid.Int64Range(0, int64(5*time.Second/2)).Draw(t, "step")
			asked := now
			now += step
			jitter := rapid.Int64Range(0, min(now, int64(3*time.Millisecond))).Draw(t, "jitter")
			ok := b.take(now - jitter)
			if !ok && step-jitter >= 2*int64(time.Second) {
				t.Fatalf("no token at %d, though nobody asked since %d", now, asked)
			}
			if ok {
				given = append(given, now/int64(time.Second))
			}
			for i := range given {
				limit := int64(spec.maxTokens) + (given[len(given)-1]-given[i]+1)*int64(spec.tokensPerFill)
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
	b := newBucket(bucketSpec{100, 40, time.Second})
	for interval := range int64(50) {
		var n atomic.Int64
		var wait sync.WaitGroup
		for range loops {
			wait.Go(func() {
				for b.take(interval * int64(time.Second)) {
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

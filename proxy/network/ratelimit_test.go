package network

import (
	"testing"
	"time"

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

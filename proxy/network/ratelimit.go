package network

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// rateLimit is envoy.filters.network.local_ratelimit: a token for each connection. Immutable but for
// the bucket, which loops share.
type rateLimit struct {
	bucket *bucket
	share  conf.Fraction // of the connections it applies to
	stats  *stats.NetworkLocalRateLimitStats
}

// minFillInterval is Envoy's bound on token_bucket.fill_interval.
const minFillInterval = 50 * time.Millisecond

func newRateLimit(c *conf.NetworkLocalRateLimit, d Deps) (Filter, error) {
	switch {
	case c.MaxTokens == 0:
		return nil, errors.New("token_bucket.max_tokens: must be at least 1")
	case c.TokensPerFill == 0:
		return nil, errors.New("token_bucket.tokens_per_fill: must be at least 1")
	case c.FillInterval < minFillInterval:
		return nil, fmt.Errorf("token_bucket.fill_interval: must be at least %v", minFillInterval)
	case c.ShareKey != "" && d.Buckets == nil:
		return nil, errors.New("share_key: there is nothing to share here")
	}
	f := &rateLimit{share: c.Enabled, stats: stats.NewNetworkLocalRateLimitStats(d.Registry, c.StatPrefix)}
	if f.share.Denominator == 0 {
		f.share = conf.Fraction{Numerator: 1, Denominator: 1}
	}
	if c.RuntimeKey != "" {
		if share, ok := parseShare(d.Runtime[c.RuntimeKey]); ok {
			f.share = share
		}
	}
	spec := bucketSpec{c.MaxTokens, c.TokensPerFill, c.FillInterval}
	if c.ShareKey != "" {
		f.bucket = d.Buckets.shared(c.ShareKey, spec)
	} else {
		f.bucket = newBucket(spec)
	}
	return f, nil
}

// parseShare reads the runtime value of runtime_enabled: a boolean, or whole percents.
func parseShare(text string) (conf.Fraction, bool) {
	switch text {
	case "true":
		return conf.Fraction{Numerator: 1, Denominator: 1}, true
	case "false":
		return conf.Fraction{Denominator: 1}, true
	}
	percent, err := strconv.ParseUint(text, 10, 32)
	return conf.Fraction{Numerator: uint32(percent), Denominator: 100}, err == nil
}

// OnNewConnection takes a token for the connection.
func (f *rateLimit) OnNewConnection(c *Connection) Verdict {
	if !f.applies(c) || f.bucket.take(c.Worker.Loop.Now()) {
		return Verdict{}
	}
	c.Worker.Stats.Inc(f.stats.RateLimited)
	return Verdict{Close: true, Reason: reason.ConnectionRateLimited}
}

func (f *rateLimit) applies(c *Connection) bool {
	return f.share.Numerator >= f.share.Denominator || f.share.Numerator > 0 && c.Worker.Random.Uint32N(f.share.Denominator) < f.share.Numerator
}

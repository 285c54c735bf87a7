package network

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/tokenbucket"
)

// rateLimit is envoy.filters.network.local_ratelimit: a token for each connection. Immutable but for
// the bucket, which loops share.
type rateLimit struct {
	bucket *tokenbucket.Bucket
	share  *runtime.Fraction // of the connections it applies to
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
	share := c.Enabled
	if share.Denominator == 0 {
		share = conf.Fraction{Numerator: 1, Denominator: 1}
	}
	f := &rateLimit{share: d.Runtime.Fraction(c.RuntimeKey, share), stats: stats.NewNetworkLocalRateLimitStats(d.Registry, c.StatPrefix)}
	spec := tokenbucket.Spec{MaxTokens: c.MaxTokens, TokensPerFill: c.TokensPerFill, FillInterval: c.FillInterval}
	if c.ShareKey != "" {
		f.bucket = d.Buckets.Shared(c.ShareKey, spec)
	} else {
		f.bucket = tokenbucket.New(spec)
	}
	return f, nil
}

// OnNewConnection takes a token for the connection.
func (f *rateLimit) OnNewConnection(c *Connection) Verdict {
	if !f.share.Enabled(c.Worker.Random.Uint64()) || f.bucket.Take(c.Worker.Loop.Now()) {
		return Verdict{}
	}
	c.Worker.Stats.Inc(f.stats.RateLimited)
	return Verdict{Close: true, Reason: reason.ConnectionRateLimited}
}

package cluster

import (
	"math"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/retry"
	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// retryBudget bounds retries by a share of the requests that are active or wait, in place of max_retries
// (ROUTER-36). It is in force when the configuration has one, or a runtime key of its own has a value.
type retryBudget struct {
	percent *runtime.Float // less than 0: not set
	least   *runtime.Uint  // unsetLeast: not set
}

const (
	unsetLeast           = math.MaxUint64
	defaultBudgetPercent = 20
	defaultBudgetLeast   = 3
)

func newRetryBudget(c *conf.RetryBudget, l *runtime.Loader, prefix string) retryBudget {
	percent, least := -1., uint64(unsetLeast)
	if c != nil {
		percent, least = c.Percent, uint64(c.MinConcurrency)
	}
	return retryBudget{l.Float(prefix+"retry_budget.budget_percent", percent), l.Uint(prefix+"retry_budget.min_retry_concurrency", least)}
}

// mostRetries is how many retries may be under way now.
func (b *Breaker) mostRetries() int64 {
	percent, least := b.budget.percent.Load(), b.budget.least.Load()
	switch {
	case percent < 0 && least == unsetLeast:
		return b.retries.most()
	case percent < 0:
		percent = defaultBudgetPercent
	case least == unsetLeast:
		least = defaultBudgetLeast
	}
	return retry.BudgetLimit(percent, uint32(min(least, math.MaxUint32)), b.requests.used.Load(), b.pending.used.Load())
}

// TryRetry asks for one more retry at a time (max_retries, retry_budget). The limit holds for all loops
// together.
func (b *Breaker) TryRetry() bool {
	for {
		n := b.retries.used.Load()
		if n >= b.mostRetries() {
			return false
		}
		if b.retries.used.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (b *Breaker) retryOpen() int64 {
	if b.retries.used.Load() >= b.mostRetries() {
		return 1
	}
	return 0
}

func (b *Breaker) remainingRetries() int64 { return max(0, b.mostRetries()-b.retries.used.Load()) }

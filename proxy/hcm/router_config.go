package hcm

import (
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/accesslog"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/retry"
	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// routerConfig is what the router filter says, and the runtime keys it follows (router.md 12). Immutable.
type routerConfig struct {
	useRetry      *runtime.Fraction
	baseBackOffMs *runtime.Uint
	headerWins    *runtime.Bool
	overloaded    *runtime.Bool

	strict []header.Known

	// logs have a line for each attempt (upstream_log); logsResponses: one reads the response.
	logs          []*accesslog.Logger
	logsResponses bool
}

const defaultBaseBackOffMs = 25

func compileRouter(c *conf.Router, d *Deps) (routerConfig, error) {
	r := routerConfig{
		useRetry:      d.Runtime.Fraction("upstream.use_retry", conf.Fraction{Numerator: 100, Denominator: 100}),
		baseBackOffMs: d.Runtime.Uint("upstream.base_retry_backoff_ms", defaultBaseBackOffMs),
		headerWins:    d.Runtime.Bool("sluice.router.max_retries_header_wins", false),
		overloaded:    d.Runtime.Bool("sluice.router.overloaded_response_blocks_retry", true),
	}
	for i, name := range c.StrictCheckHeaders {
		id := header.Lookup([]byte(name))
		if strictChecks[id] == nil {
			return r, fmt.Errorf("strict_check_headers[%d]: %q is none of the headers that can be checked", i, name)
		}
		r.strict = append(r.strict, id)
	}
	for i, lc := range c.UpstreamLogs {
		logger, err := d.Logs.Compile(lc)
		if err != nil {
			return r, fmt.Errorf("upstream_log[%d]: %w", i, err)
		}
		r.logs = append(r.logs, logger)
		r.logsResponses = r.logsResponses || logger.NeedsResponse()
	}
	return r, nil
}

func (r *routerConfig) retryOptions() retry.Options {
	return retry.Options{HeaderWins: r.headerWins.Load(), OverloadedRetries: !r.overloaded.Load()}
}

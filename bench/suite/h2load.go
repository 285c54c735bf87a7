package suite

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/bench"
)

// h2load runs it over HTTP/1.1, one request at a time on each connection.
func h2load(ctx context.Context, l *bench.Load, d time.Duration) (*exec.Cmd, error) {
	args := []string{"--h1", "-t1", "-m1", "-c", strconv.Itoa(l.Conns), "-D", wholeSeconds(d)}
	return command(ctx, l, "h2load", "nghttp2-client", args)
}

var (
	h2loadFinished = regexp.MustCompile(`finished in ([\d.]+)(us|ms|s|m), `)
	h2loadRequests = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2loadStatus   = regexp.MustCompile(`status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
	h2loadTime     = regexp.MustCompile(`time for request:\s+\S+\s+([\d.]+)(us|ms|s|m)\s+([\d.]+)(us|ms|s|m)`)
)

// parseH2load reads what h2load prints. It has the mean and the longest time of a request, and no
// quantiles: those stay 0.
func parseH2load(out []byte) (res bench.Result, err error) {
	finished, requests, status := h2loadFinished.FindSubmatch(out), h2loadRequests.FindSubmatch(out), h2loadStatus.FindSubmatch(out)
	if finished == nil || requests == nil || status == nil {
		return res, fmt.Errorf("h2load printed no totals: %q", out)
	}
	number := func(b []byte) int64 {
		n, _ := strconv.ParseInt(string(b), 10, 64)
		return n
	}
	span := func(value, unit []byte) time.Duration {
		d, _ := time.ParseDuration(string(value) + string(unit))
		return d
	}
	res.Elapsed = span(finished[1], finished[2])
	res.Requests = number(status[1])
	res.Errors.Status = number(status[2]) + number(status[3]) + number(status[4])
	res.Errors.Timeout = number(requests[5])
	res.Errors.Broken = number(requests[4]) - res.Errors.Timeout
	if t := h2loadTime.FindSubmatch(out); t != nil {
		res.Latency.Max, res.Latency.Mean = span(t[1], t[2]).Nanoseconds(), span(t[3], t[4]).Nanoseconds()
		res.Latency.N = res.Requests
	}
	return res, nil
}

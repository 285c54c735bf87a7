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

// h2loadTool runs it over the scenario's wire, with its streams at a time on each connection. Its groups
// for TLS are those of our own client: P-256.
func (s *scenario) h2loadTool(ctx context.Context, l *bench.Load, d time.Duration) (*exec.Cmd, error) {
	args := []string{"-t1", "-m", strconv.Itoa(max(1, s.streams)), "-c", strconv.Itoa(l.Conns), "--groups=P-256"}
	if l.MaxRequests > 0 { // it cannot end by whichever comes first
		args = append(args, "-n", strconv.FormatInt(max(l.MaxRequests, int64(l.Conns)), 10))
	} else {
		args = append(args, "-D", wholeSeconds(d))
	}
	if !s.wire.HTTP2() {
		args = append(args, "--h1")
	}
	scheme := "http://"
	if s.wire.Secure() {
		scheme = "https://"
	}
	return command(ctx, l, "h2load", "nghttp2-client", args, scheme+l.Addr+l.Path)
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

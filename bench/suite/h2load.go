package suite

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/bench"
)

// runH2load drives l with h2load over the scenario's wire, with its streams at a time on each connection.
// The groups for TLS are those of our own client: P-256. Connections are made while it warms up, so that
// the window has requests alone. h2load counts those of its own window; the meter's lies within it but for
// some milliseconds, and gets its share of them.
func (s *scenario) runH2load(ctx context.Context, l *bench.Load, w *meter) (res bench.Result, err error) {
	args := []string{"-t1", "-m", strconv.Itoa(max(1, s.streams)), "-c", strconv.Itoa(l.Conns), "--groups=P-256"}
	if !s.wire.HTTP2() {
		args = append(args, "--h1")
	}
	scheme := "http://"
	if s.wire.Secure() {
		scheme = "https://"
	}
	if l.MaxRequests > 0 { // it cannot end by whichever comes first
		args = append(args, "-n", strconv.FormatInt(max(l.MaxRequests, int64(l.Conns)), 10))
		w.onWindow(true)
		cmd, err := command(ctx, l, h2loadName, h2loadPackage, args, scheme+l.Addr+l.Path)
		w.onWindow(false)
		if err != nil {
			return res, err
		}
		return parseH2load(cmd.Stdout.(*bytes.Buffer).Bytes())
	}
	warmup, window := max(l.Warmup, 500*time.Millisecond), max(time.Second, l.Duration.Round(time.Second))
	args = append(args, "--warm-up-time", fmt.Sprintf("%dms", warmup.Milliseconds()), "-D", wholeSeconds(window))
	ended := make(chan error, 1)
	var cmd *exec.Cmd
	began := time.Now()
	go func() {
		var err error
		cmd, err = command(ctx, l, h2loadName, h2loadPackage, args, scheme+l.Addr+l.Path)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			err = fmt.Errorf("h2load ended early: %q", cmd.Stdout)
		}
		return res, err
	case <-time.After(warmup):
	}
	w.onWindow(true)
	opened := time.Now()
	var ending error
	over := false
	select {
	case ending = <-ended: // the window was opened late, or its clock is ahead
		over = true
	case <-time.After(time.Until(began.Add(warmup + window))):
	}
	res.Elapsed = time.Since(opened)
	w.onWindow(false)
	if !over {
		ending = <-ended
	}
	if ending != nil {
		return res, ending
	}
	counted, err := parseH2load(cmd.Stdout.(*bytes.Buffer).Bytes())
	counted.Requests = int64(float64(counted.Requests) * float64(res.Elapsed) / float64(window))
	counted.Elapsed = res.Elapsed
	counted.LoadBusy = float64(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()) / float64(time.Since(began))
	return counted, err
}

const h2loadName, h2loadPackage = "h2load", "nghttp2-client"

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

// Package suite compares proxies: it starts an origin and the peers, lets them do the same work in turn,
// and fills a report.
//
// The proxy under test has one CPU to itself; load and origin share another. Within a scenario all
// proxies are started and probed first, and the rounds go A B C A B C, so that drift of the machine meets
// all of them alike. The calling process is pinned to the load's CPU for good.
package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/bench/peer"
	"github.com/sluiceproxy/sluice/bench/report"
)

// Profile is how long to measure.
type Profile struct {
	Name   string
	Rounds int
	// ToolRounds, when not 0, are those of the scenarios that other programs drive: they count whole seconds.
	ToolRounds       int
	Warmup, Duration time.Duration // of each load
	Watch            time.Duration // how long memory is watched with a slow reader
	// MaxRequests, when not 0, ends a measurement after that many requests already. It is for trying out
	// that everything works, on a machine however busy.
	MaxRequests int64
}

// Quick ends within five minutes with five proxies, Full in about half an hour. Rounds are many and short: what
// else the machine does changes within a second, and the median of many ratios stands where that of three does not.
var (
	Quick = Profile{
		Name: "quick", Rounds: 8, ToolRounds: 2,
		Warmup: 60 * time.Millisecond, Duration: 150 * time.Millisecond, Watch: time.Second,
	}
	Full = Profile{
		Name: "full", Rounds: 40, ToolRounds: 5,
		Warmup: 100 * time.Millisecond, Duration: 350 * time.Millisecond, Watch: 5 * time.Second,
	}
)

// Options says what to compare and where to run it.
type Options struct {
	Profile Profile
	// Only names the scenarios to run; empty is all.
	Only  []string
	Peers []*peer.Peer
	// Subject is the peer the budgets are for.
	Subject string
	// Tool, "wrk" or "h2load", drives the scenarios that such tools can drive; empty for none.
	Tool string
	// ProxyCPU is for the proxies; LoadCPU for load generator and origin.
	ProxyCPU, LoadCPU int
	// OriginCommand starts bench/origin; the addresses for HTTP, for echo and of the source are appended.
	OriginCommand []string
	// Command is how this run was asked for; it goes into the report.
	Command string
	// Progress gets one line about what is going on, rewritten in place; nil for none.
	Progress io.Writer
}

// fileLimit is for the proxies, which need two files for each of the idle scenario's connections, and for
// this process, which needs one.
const fileLimit = 65536

// runner is one run.
type runner struct {
	Options
	origin             *peer.Process
	http, echo, source string        // the origin's addresses
	inline             *bench.Echo   // the echo for small messages, on the load's thread
	redis              *peer.Process // nil before its first scenario
	redisAddr          string
	identity           *peer.Identity
	report             *report.Report
	line               progressLine
}

// Run measures every scenario and returns the report. It stops what it started, also when ctx ends early;
// the report then has what was finished.
func Run(ctx context.Context, o Options) (*report.Report, error) {
	scenarios, err := selected(o.Only)
	if err != nil {
		return nil, err
	}
	budgets, err := report.Budgets()
	if err != nil {
		return nil, err
	}
	if o.ProxyCPU == o.LoadCPU {
		return nil, errors.New("proxy and load need a CPU each")
	}
	files := int(peer.RaiseFileLimit(fileLimit))
	if err := peer.PinSelf(o.LoadCPU); err != nil {
		return nil, err
	}
	r := &runner{Options: o, report: newReport(&o), line: progressLine{w: o.Progress}}
	dir, err := os.MkdirTemp("", "bench-identity-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if r.identity, err = peer.NewIdentity(dir); err != nil {
		return nil, err
	}
	if err := r.startOrigin(ctx); err != nil {
		return nil, err
	}
	defer r.origin.Stop()
	if r.inline, err = bench.ListenEcho(); err != nil {
		return nil, err
	}
	defer r.inline.Close()
	defer func() {
		if r.redis != nil {
			r.redis.Stop()
		}
	}()
	defer r.line.clear()
	for i := range scenarios {
		s := &scenarios[i]
		s.fit(files)
		row := report.Scenario{Name: s.name, Title: s.title, Metric: s.metric, Load: r.loadName(s), Budgets: budgets[s.name]}
		r.line.scenario = fmt.Sprintf("[%d/%d] %s", i+1, len(scenarios), s.name)
		err := r.measure(ctx, s, &row)
		r.report.Scenarios = append(r.report.Scenarios, row)
		if err != nil {
			return r.report, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	r.report.Notes = append(r.report.Notes, disturbances(r.report)...)
	return r.report, nil
}

// disturbedShare of a CPU spent on other things makes figures doubtful.
const disturbedShare = 0.15

// disturbances says when the proxies did not have their CPU to themselves.
func disturbances(r *report.Report) (notes []string) {
	for _, kind := range []struct {
		text  string
		share func(*report.Sample) float64
	}{
		{"other programs used", func(m *report.Sample) float64 { return m.OthersBusy }},
		{"the hypervisor took", func(m *report.Sample) float64 { return m.StealShare }},
	} {
		worst, where := disturbedShare, ""
		for i := range r.Scenarios {
			s := &r.Scenarios[i]
			for j := range s.Samples {
				if share := kind.share(&s.Samples[j]); share > worst {
					worst, where = share, fmt.Sprintf("%s, %s, round %d", s.Name, s.Samples[j].Peer, s.Samples[j].Round)
				}
			}
		}
		if where != "" {
			notes = append(notes, fmt.Sprintf("%s up to %.0f%% of the proxies' CPU (%s): this machine was not quiet, do not rely on these figures.",
				kind.text, 100*worst, where))
		}
	}
	return notes
}

func newReport(o *Options) *report.Report {
	r := &report.Report{Subject: o.Subject, Profile: o.Profile.Name, Started: time.Now().UTC().Truncate(time.Second)}
	r.Notes = notes()
	r.Machine.Kernel, r.Machine.CPU = peer.Machine()
	r.Machine.CPUs = runtime.NumCPU()
	r.Machine.Go = runtime.Version()
	r.Machine.Command = o.Command
	for _, p := range o.Peers {
		if v := p.Version(); v != "" {
			r.Machine.Versions = append(r.Machine.Versions, report.Version{Name: p.Name, Version: v})
		}
	}
	return r
}

// notes are what a reader of any report must know to judge it.
func notes() []string {
	return []string{
		"busy columns are shares of one CPU: the proxy has one, load generator and origin share another. Where the proxy " +
			"is not near 100% the load side was the limit; compare costs only at like use.",
		"in the ping-pong rows of less than 16 KiB one thread is load and origin, and all its use is the load's.",
		"softirq is all such time on the proxy's CPU, whoever caused it; the kernel may also count it to the proxy.",
		"the l4-bulk rows' source sends by sendfile and their sink drops, so that the proxy is what costs most: with peers " +
			"that copy, every proxy would cost more.",
		"proxies that forward HTTP alone are not in the l4 rows.",
		"RSS per connection is growth: what a proxy sets aside for connections when it starts (nginx) is not in it.",
	}
}

// selected returns the scenarios of the given names, in their own order.
func selected(only []string) ([]scenario, error) {
	all := scenarios()
	if len(only) == 0 {
		return all, nil
	}
	var chosen []scenario
	for _, s := range all {
		if slices.Contains(only, s.name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) != len(only) {
		return nil, fmt.Errorf("scenarios are %s; asked for %s", strings.Join(Names(), ", "), strings.Join(only, ", "))
	}
	return chosen, nil
}

func (r *runner) startOrigin(ctx context.Context) (err error) {
	for _, a := range []*string{&r.http, &r.echo, &r.source} {
		if *a, err = peer.FreeAddr(); err != nil {
			return err
		}
	}
	command := append(slices.Clone(r.OriginCommand), r.http, r.echo, r.source)
	if r.origin, err = peer.StartPinned(ctx, r.LoadCPU, r.http, nil, command...); err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	if err := peer.Probe(ctx, r.http); err != nil {
		r.origin.Stop()
		return fmt.Errorf("origin: %w", err)
	}
	return nil
}

func (r *runner) loadName(s *scenario) string {
	if !s.metric.OfLoad() {
		return ""
	}
	if s.h2load {
		return "h2load"
	}
	if s.pipeline > 0 {
		return "redis-benchmark"
	}
	if r.Tool != "" && s.tools {
		return r.Tool
	}
	return "own"
}

// measure runs one scenario for all peers.
func (r *runner) measure(ctx context.Context, s *scenario, row *report.Scenario) error {
	if s.pipeline > 0 {
		if err := r.startRedis(ctx); err != nil {
			row.Refused = append(row.Refused, report.Refusal{Peer: "redis", Why: err.Error()})
			return nil
		}
		if err := r.noteDirect(ctx, s); err != nil {
			return err
		}
	}
	running := r.startPeers(ctx, s, row)
	defer func() {
		for _, p := range running {
			p.Stop()
		}
	}()
	if ctx.Err() != nil { // who was refused then was not refused for what it is
		return context.Cause(ctx)
	}
	rounds := r.Profile.Rounds
	if r.loadName(s) != "own" && r.Profile.ToolRounds > 0 {
		rounds = r.Profile.ToolRounds
	}
	if !s.metric.OfLoad() {
		rounds = 1 // memory once taken stays taken, so that only a fresh process shows growth
	}
	for round := 1; round <= rounds; round++ {
		for _, p := range running {
			if !p.Alive() {
				continue
			}
			r.line.peer = fmt.Sprintf("%s, round %d of %d", p.Peer.Name, round, rounds)
			r.line.show("")
			sample, err := s.run(ctx, r, s, p)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !p.Alive() {
				err = errors.New("it died under the load")
			}
			if err != nil {
				row.Refused = append(row.Refused, report.Refusal{Peer: p.Peer.Name, Why: err.Error()})
				row.Samples = slices.DeleteFunc(row.Samples, func(m report.Sample) bool { return m.Peer == p.Peer.Name })
				p.Stop()
				continue
			}
			sample.Peer, sample.Round = p.Peer.Name, round
			row.Samples = append(row.Samples, sample)
		}
	}
	return nil
}

// startPeers starts and probes all peers that can do s. Those that should and cannot are refused in row.
func (r *runner) startPeers(ctx context.Context, s *scenario, row *report.Scenario) (running []*peer.Running) {
	upstream, probe := s.upstream(r)
	for _, p := range r.Peers {
		if !p.Forwards(s.mode) {
			continue
		}
		r.line.peer = p.Name
		r.line.show("starting")
		spec := peer.Spec{
			Mode: s.mode, Wire: s.wire, Upstream: upstream, Bulk: s.bulk, AwaitData: s.awaitData, MaxConns: idleConns + 1000,
		}
		if s.wire.Secure() {
			spec.Identity = r.identity
		}
		up, err := peer.Start(ctx, p, spec, r.ProxyCPU)
		if err == nil {
			if err = probe(ctx, up.Spec.Listen); err != nil {
				up.Stop()
				err = fmt.Errorf("wrong answer: %w", err)
			}
		}
		if err != nil {
			row.Refused = append(row.Refused, report.Refusal{Peer: p.Name, Why: err.Error()})
			continue
		}
		running = append(running, up)
	}
	return running
}

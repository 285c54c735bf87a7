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
	"github.com/sluiceproxy/sluice/bench/peer"
	"github.com/sluiceproxy/sluice/bench/report"
)

// meter takes the counters of one proxy at both ends of a window.
type meter struct {
	ctx           context.Context
	r             *runner
	p             *peer.Running
	origin        *peer.Process
	before, after reading
	err           error
}

type reading struct {
	at            time.Time
	proxy, origin peer.Usage
	cpu           peer.CPUTimes
	mallocs       uint64
	hasMallocs    bool
}

// onWindow is bench.Load.OnWindow. The request for the allocation count stays outside the readings of CPU.
func (w *meter) onWindow(open bool) {
	if open {
		w.before.mallocs, w.before.hasMallocs = w.p.Mallocs(w.ctx)
		w.read(&w.before)
		return
	}
	w.read(&w.after)
	w.after.mallocs, w.after.hasMallocs = w.p.Mallocs(w.ctx)
}

func (w *meter) read(to *reading) {
	to.at = time.Now()
	for _, f := range []func() error{
		func() (err error) { to.proxy, err = w.p.Usage(); return err },
		func() (err error) { to.origin, err = w.origin.Usage(); return err },
		func() (err error) { to.cpu, err = peer.TimesOf(w.r.ProxyCPU); return err },
	} {
		if err := f(); err != nil && w.err == nil {
			w.err = err
		}
	}
}

// sample turns the readings and the load's result into a row. The load's requests are those between the
// two readings.
func (w *meter) sample(metric report.Metric, res *bench.Result) (report.Sample, error) {
	if w.err != nil {
		return report.Sample{}, w.err
	}
	if res.Requests == 0 {
		return report.Sample{}, fmt.Errorf("no request succeeded: %s", &res.Errors)
	}
	elapsed := w.after.at.Sub(w.before.at)
	cpu := w.after.proxy.CPU - w.before.proxy.CPU
	if cpu <= 0 {
		return report.Sample{}, fmt.Errorf("no CPU time was counted for %d requests", res.Requests)
	}
	share := func(d time.Duration) float64 { return float64(d) / float64(elapsed) }
	m := report.Sample{
		Requests:    res.Requests,
		PerSecond:   res.PerSecond(),
		P50Ns:       res.Latency.P50,
		P99Ns:       res.Latency.P99,
		Errors:      res.Errors.Total(),
		RSS:         w.after.proxy.RSS,
		ProxyBusy:   share(cpu),
		LoadBusy:    res.LoadBusy,
		OriginBusy:  share(w.after.origin.CPU - w.before.origin.CPU),
		SoftirqBusy: share(w.after.cpu.Softirq - w.before.cpu.Softirq),
		StealShare:  share(w.after.cpu.Steal - w.before.cpu.Steal),
	}
	busy := w.after.cpu.Busy() - w.before.cpu.Busy()
	m.OthersBusy = max(0, share(busy-cpu))
	if m.Errors > 0 {
		m.ErrorText = res.Errors.String()
	}
	m.Cost = float64(cpu.Microseconds()) / float64(res.Requests)
	if metric == report.CPUPerGB {
		m.Cost = cpu.Seconds() / (float64(res.BodyBytes) / 1e9)
	}
	if w.before.hasMallocs && w.after.hasMallocs {
		n := float64(w.after.mallocs-w.before.mallocs) / float64(res.Requests)
		m.MallocsPerRequest = &n
	}
	return m, nil
}

// runLoad measures one proxy under load.
func runLoad(ctx context.Context, r *runner, s *scenario, p *peer.Running) (report.Sample, error) {
	p.Refresh()
	l := s.load
	l.Addr, l.MaxRequests = p.Spec.Listen, r.Profile.MaxRequests
	l.Warmup, l.Duration = r.Profile.Warmup, r.Profile.Duration
	l.TLS = p.Spec.Identity.Client(s.wire)
	if s.inline() {
		l.Echo = r.inline
	}
	w := &meter{ctx: ctx, r: r, p: p, origin: r.origin}
	var res bench.Result
	var err error
	switch r.loadName(s) {
	case "wrk":
		res, err = runWrk(ctx, &l, w)
	case "h2load":
		res, err = s.runH2load(ctx, &l, w)
	default:
		l.OnWindow = w.onWindow
		l.OnProgress = r.line.onProgress
		res, err = bench.Run(ctx, l)
	}
	if err != nil {
		return report.Sample{}, err
	}
	return w.sample(s.metric, &res)
}

// runWrk drives l with wrk, which inherits this process's CPU. It counts whole seconds and cannot warm
// up, so it runs twice; the load's own share of its CPU comes from the process times.
func runWrk(ctx context.Context, l *bench.Load, w *meter) (res bench.Result, err error) {
	if _, err := wrk(ctx, l, l.Warmup); err != nil {
		return res, err
	}
	w.onWindow(true)
	started := time.Now()
	cmd, err := wrk(ctx, l, l.Duration)
	w.onWindow(false)
	if err != nil {
		return res, err
	}
	res, err = parseWrk(cmd.Stdout.(*bytes.Buffer).Bytes())
	res.LoadBusy = float64(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()) / float64(time.Since(started))
	return res, err
}

// wholeSeconds is d as those tools count it.
func wholeSeconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(d.Round(time.Second)/time.Second)))
}

func wrk(ctx context.Context, l *bench.Load, d time.Duration) (*exec.Cmd, error) {
	args := []string{"-t1", "--latency", "-c", strconv.Itoa(l.Conns), "-d", wholeSeconds(d)}
	return command(ctx, l, "wrk", "wrk", args, "http://"+l.Addr+l.Path)
}

// command runs name, of the Debian package pkg, with l's fields and url behind args: the tools spell
// those alike.
func command(ctx context.Context, l *bench.Load, name, pkg string, args []string, url string) (*exec.Cmd, error) {
	for _, h := range l.Header {
		args = append(args, "-H", h[0]+": "+h[1])
	}
	cmd := exec.CommandContext(ctx, name, append(args, url)...)
	cmd.Stdout = &bytes.Buffer{}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s (apt-get install %s): %w", name, pkg, err)
	}
	return cmd, nil
}

var (
	wrkTotal   = regexp.MustCompile(`(\d+) requests in ([\d.]+)(us|ms|s|m)`)
	wrkLatency = regexp.MustCompile(`(?m)^\s+(50|90|99)%\s+([\d.]+)(us|ms|s|m)`)
	wrkSocket  = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// parseWrk reads what wrk --latency prints.
func parseWrk(out []byte) (res bench.Result, err error) {
	total := wrkTotal.FindSubmatch(out)
	if total == nil {
		return res, fmt.Errorf("wrk printed no total: %q", out)
	}
	number := func(b []byte) int64 {
		n, convErr := strconv.ParseInt(string(b), 10, 64)
		if convErr != nil {
			err = convErr
		}
		return n
	}
	duration := func(value, unit []byte) time.Duration {
		d, convErr := time.ParseDuration(string(value) + string(unit))
		if convErr != nil {
			err = convErr
		}
		return d
	}
	res.Requests = number(total[1])
	res.Elapsed = duration(total[2], total[3])
	for _, q := range wrkLatency.FindAllSubmatch(out, -1) {
		d := int64(duration(q[2], q[3]))
		switch string(q[1]) {
		case "50":
			res.Latency.P50 = d
		case "90":
			res.Latency.P90 = d
		case "99":
			res.Latency.P99 = d
		}
	}
	if e := wrkSocket.FindSubmatch(out); e != nil {
		res.Errors.Connect = number(e[1])
		res.Errors.Broken = number(e[2]) + number(e[3])
		res.Errors.Timeout = number(e[4])
	}
	if e := wrkStatus.FindSubmatch(out); e != nil {
		res.Errors.Status = number(e[1])
		res.Requests -= res.Errors.Status
	}
	return res, err
}

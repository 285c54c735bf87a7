package suite

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"net"
	"os/exec"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/bench/peer"
	"github.com/sluiceproxy/sluice/bench/report"
)

// redisClients is redis-benchmark's own default; redisWarmup how many commands tell how fast it goes.
const (
	redisClients = 50
	redisWarmup  = 20_000
)

// redis is a scenario of redis-benchmark's GET with that many commands at a time on each connection.
func redis(name, commands string, pipeline int) scenario {
	return scenario{
		name: name, title: "Redis, redis-benchmark's GET, 50 connections, " + commands,
		metric: report.CPUPerRequest, mode: peer.Redis, pipeline: pipeline, run: runRedis,
	}
}

// startRedis starts the server of the Redis scenarios beside the origin, once.
func (r *runner) startRedis(ctx context.Context) error {
	if r.redis != nil {
		return nil
	}
	for _, name := range []string{"redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is not installed: apt-get install redis", name)
		}
	}
	addr, err := peer.FreeAddr()
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	r.redisAddr = addr
	r.redis, err = peer.StartPinned(ctx, r.LoadCPU, addr, nil, "redis-server", "--bind", host, "--port", port, "--save", "", "--appendonly", "no")
	return err
}

// runRedis measures one proxy under redis-benchmark.
func runRedis(ctx context.Context, r *runner, s *scenario, p *peer.Running) (report.Sample, error) {
	p.Refresh()
	n, err := r.redisCommands(ctx, s, p.Spec.Listen)
	if err != nil {
		return report.Sample{}, err
	}
	w := &meter{ctx: ctx, r: r, p: p, origin: r.redis}
	w.onWindow(true)
	res, err := s.redisBenchmark(ctx, p.Spec.Listen, n)
	w.onWindow(false)
	if err != nil {
		return report.Sample{}, err
	}
	return w.sample(s.metric, &res)
}

// redisCommands is how many commands take the profile's time. Asking warms the proxy up.
func (r *runner) redisCommands(ctx context.Context, s *scenario, addr string) (int64, error) {
	if r.Profile.MaxRequests > 0 {
		return r.Profile.MaxRequests, nil
	}
	warm, err := s.redisBenchmark(ctx, addr, redisWarmup)
	return int64(warm.PerSecond() * r.Profile.Duration.Seconds()), err
}

// noteDirect notes how fast the same commands are without a proxy.
func (r *runner) noteDirect(ctx context.Context, s *scenario) error {
	n, err := r.redisCommands(ctx, s, r.redisAddr)
	if err != nil {
		return err
	}
	res, err := s.redisBenchmark(ctx, r.redisAddr, n)
	if err == nil {
		r.report.Notes = append(r.report.Notes, fmt.Sprintf("%s: %.0f commands/s straight to the server.", s.name, res.PerSecond()))
	}
	return err
}

// redisBenchmark has n commands done at addr. It makes its connections within the time it counts.
func (s *scenario) redisBenchmark(ctx context.Context, addr string, n int64) (res bench.Result, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return res, err
	}
	cmd := exec.CommandContext(ctx, "redis-benchmark", "-h", host, "-p", port, "-t", "get", "--csv", // #nosec: our own arguments
		"-c", strconv.Itoa(redisClients), "-P", strconv.Itoa(s.pipeline), "-n", strconv.FormatInt(n, 10))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return res, fmt.Errorf("redis-benchmark: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	res, err = parseRedis(out, n)
	res.LoadBusy = float64(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()) / float64(time.Since(began))
	return res, err
}

// parseRedis reads the table that redis-benchmark prints about n commands of one kind: a head, and a row with name,
// commands for each second, and milliseconds: mean, least, median, 95 and 99 %, most.
func parseRedis(out []byte, n int64) (res bench.Result, err error) {
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 2 || len(rows[1]) != 8 {
		return res, fmt.Errorf("redis-benchmark printed no table: %q", out)
	}
	var v [8]float64
	for i := 1; i < len(v); i++ {
		if v[i], err = strconv.ParseFloat(rows[1][i], 64); err != nil {
			return res, fmt.Errorf("redis-benchmark printed %q", rows[1])
		}
	}
	if v[1] <= 0 {
		return res, fmt.Errorf("redis-benchmark printed %q", rows[1])
	}
	ns := func(ms float64) int64 { return int64(math.Round(ms * 1e6)) }
	res.Requests = n
	res.Elapsed = time.Duration(float64(n) / v[1] * float64(time.Second))
	res.Latency.N, res.Latency.Mean, res.Latency.P50, res.Latency.P99, res.Latency.Max = n, ns(v[2]), ns(v[4]), ns(v[6]), ns(v[7])
	return res, nil
}

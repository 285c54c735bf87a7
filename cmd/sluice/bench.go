package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/sluiceproxy/sluice/bench"
)

// benchCommand loads one HTTP address and prints what it took.
type benchCommand struct {
	URL      string        `arg:"" help:"http://host:port/path"`
	Conns    int           `short:"n" default:"64" help:"Connections kept busy."`
	Rate     float64       `help:"Requests per second, sent on schedule whatever the server does; 0 sends the next when the last is answered."`
	Duration time.Duration `short:"d" default:"10s" help:"Measured time."`
	Warmup   time.Duration `default:"1s" help:"Time before measuring."`
	Method   string        `short:"X" help:"Request method; POST when there is a body."`
	Body     int           `placeholder:"BYTES" help:"Size of the request body."`
	Header   []string      `short:"H" placeholder:"NAME:VALUE" sep:"none" help:"Request header; repeatable."`
	Close    bool          `help:"A new connection for every request."`
	Status   int           `default:"200" help:"The status that counts as success."`
	JSON     bool          `name:"json" help:"Print the result as JSON."`
}

// Run implements the subcommand.
func (c *benchCommand) Run() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("bench: %q is not an http:// address", c.URL)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	l := bench.Load{
		Addr: addr.String(), Conns: c.Conns, Rate: c.Rate, Duration: c.Duration, Warmup: c.Warmup,
		Method: c.Method, Path: u.RequestURI(), Host: u.Host, BodyBytes: c.Body, CloseEach: c.Close, WantStatus: c.Status, WantBytes: -1,
	}
	if l.Method == "" && c.Body > 0 {
		l.Method = "POST"
	}
	for _, h := range c.Header {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return fmt.Errorf("bench: -H %q is not NAME:VALUE", h)
		}
		l.Header = append(l.Header, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	live := term.IsTerminal(int(os.Stderr.Fd()))
	if live {
		l.OnProgress = func(p bench.Progress) {
			fmt.Fprintf(os.Stderr, "\r\033[K%3.0f%%  %.0f requests/s  %d errors", 100*p.Elapsed.Seconds()/p.Total.Seconds(), p.PerSecond, p.Errors)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := bench.Run(ctx, l)
	if live {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	printResult(&r)
	return nil
}

func printResult(r *bench.Result) {
	ms := func(ns int64) float64 { return float64(ns) / 1e6 }
	fmt.Printf("%d requests in %.2f s: %.0f/s, %.2f MB/s of bodies\n", r.Requests, r.Elapsed.Seconds(),
		float64(r.Requests)/r.Elapsed.Seconds(), float64(r.BodyBytes)/1e6/r.Elapsed.Seconds())
	fmt.Printf("latency ms: p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f\n",
		ms(r.Latency.P50), ms(r.Latency.P90), ms(r.Latency.P99), ms(r.Latency.P999), ms(r.Latency.Max))
	if r.Errors.Total() > 0 {
		fmt.Printf("errors: %s\n", r.Errors.String())
	}
}

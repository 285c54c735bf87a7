// Command bench compares proxies on this machine; see package suite.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/bench/peer"
	"github.com/sluiceproxy/sluice/bench/report"
	"github.com/sluiceproxy/sluice/bench/suite"
)

type flags struct {
	Compare      compareCmd      `cmd:"" default:"withargs" help:"Compare proxies (the default)."`
	Show         showCmd         `cmd:"" help:"Show an earlier run again from its JSON."`
	Origin       originCmd       `cmd:"" help:"Run the scripted origin."`
	ReverseProxy reverseProxyCmd `cmd:"" hidden:"" help:"Run Go's net/http/httputil.ReverseProxy."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var f flags
	k := kong.Parse(&f, kong.Name("bench"), kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Vars{"scenarios": strings.Join(suite.Names(), ", ")})
	k.FatalIfErrorf(k.Run())
}

type compareCmd struct {
	Full     bool          `help:"Measure long enough for figures to publish (about half an hour)."`
	Only     []string      `help:"Scenarios: ${scenarios}." placeholder:"NAME"`
	Peers    []string      `help:"Proxies: sluice, nginx, haproxy, h2o, net/http." default:"sluice,nginx,haproxy,h2o,net/http"`
	Sluice   string        `help:"The sluice binary." default:"bin/sluice" type:"path"`
	Load     string        `enum:"own,wrk,h2load" default:"own" help:"Load generator: own, or wrk or h2load for the rows they can drive."`
	Rounds   int           `help:"Rounds, in place of the profile's."`
	Duration time.Duration `help:"Length of one measurement, in place of the profile's."`
	ProxyCPU int           `help:"CPU of the proxies." default:"0"`
	LoadCPU  int           `help:"CPU of load generator and origin." default:"1"`
	Out      string        `help:"Folder for JSON and HTML." default:"bench/results" type:"path"`
	Strict   bool          `help:"Fail when a target is missed."`
}

// Run measures, prints the table and writes the files. A run that ends early prints what it has.
func (c *compareCmd) Run(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o := suite.Options{
		Profile: suite.Quick, Only: c.Only, Subject: "sluice", Tool: strings.TrimPrefix(c.Load, "own"),
		ProxyCPU: c.ProxyCPU, LoadCPU: c.LoadCPU,
		OriginCommand: []string{self, "origin"},
		Command:       commandLine(os.Args),
		Progress:      suite.Terminal(os.Stderr),
	}
	if c.Full {
		o.Profile = suite.Full
	}
	if c.Rounds > 0 {
		o.Profile.Rounds, o.Profile.ToolRounds = c.Rounds, c.Rounds
	}
	if c.Duration > 0 {
		o.Profile.Duration = c.Duration
	}
	known := []*peer.Peer{
		peer.Sluice(c.Sluice), peer.SluicePlain(c.Sluice), peer.Nginx(), peer.HAProxy(), peer.H2O(), peer.ReverseProxy(self, "reverse-proxy"),
	}
	if o.Peers, err = choose(known, c.Peers); err != nil {
		return err
	}
	r, err := suite.Run(ctx, o)
	if r == nil {
		return err
	}
	return errors.Join(err, c.publish(r))
}

func choose(known []*peer.Peer, names []string) (chosen []*peer.Peer, err error) {
	for _, name := range names {
		found := false
		for _, p := range known {
			if p.Name == name || p.Name == peer.Plain && name == "sluice" {
				chosen, found = append(chosen, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no proxy %q to compare", name)
		}
	}
	return chosen, nil
}

// commandLine is how this run was asked for, without the folder of the program.
func commandLine(args []string) string {
	return strings.Join(append([]string{filepath.Base(args[0])}, args[1:]...), " ")
}

func (c *compareCmd) publish(r *report.Report) error {
	if err := r.WriteTable(os.Stdout); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	base := filepath.Join(c.Out, r.Started.Format("20060102-150405")+"-"+r.Profile)
	if err := write(base+".json", r.WriteJSON); err != nil {
		return err
	}
	if err := write(base+".html", r.WriteHTML); err != nil {
		return err
	}
	fmt.Printf("\nwritten: %s.json and .html\n", base)
	if missed := r.Missed(); c.Strict && missed > 0 {
		return fmt.Errorf("%d targets missed", missed)
	}
	return nil
}

func write(path string, to func(w io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(to(f), f.Close())
}

type showCmd struct {
	JSON string `arg:"" help:"What an earlier run wrote." type:"existingfile"`
	HTML string `help:"Write the page here as well." type:"path"`
}

// Run prints the table again, and makes the page when asked.
func (c *showCmd) Run() error {
	f, err := os.Open(c.JSON)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r, err := report.ReadJSON(f)
	if err != nil {
		return err
	}
	if c.HTML != "" {
		if err := write(c.HTML, r.WriteHTML); err != nil {
			return err
		}
	}
	return r.WriteTable(os.Stdout)
}

type originCmd struct {
	Addr   string `arg:"" optional:"" help:"Where to serve HTTP." default:"127.0.0.1:9000"`
	Echo   string `arg:"" optional:"" help:"Where to echo bytes."`
	Source string `arg:"" optional:"" help:"Where to send bytes without end."`
	Name   string `help:"The name in the answer to /." default:"origin"`
	Loops  int    `help:"Event loops." default:"1"`
}

// Run serves until it is interrupted.
func (c *originCmd) Run(ctx context.Context) error {
	return origin.Serve(ctx, origin.Options{
		Addr: c.Addr, EchoAddr: c.Echo, SourceAddr: c.Source, Name: c.Name, Loops: c.Loops,
	})
}

type reverseProxyCmd struct {
	Listen   string `arg:""`
	Upstream string `arg:""`
	Cert     string `arg:"" help:"Empty for no TLS."`
	Key      string `arg:""`
}

// Run serves until it is killed.
func (c *reverseProxyCmd) Run() error {
	return peer.ServeReverseProxy(c.Listen, c.Upstream, c.Cert, c.Key)
}

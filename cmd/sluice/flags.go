package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/alecthomas/kong"
)

// commands is the command line: Envoy's flags at the top (so that its command lines work as they
// are), and subcommands beside them.
type commands struct {
	Serve    serveCommand    `cmd:"" default:"withargs" hidden:"" help:"Run a configuration file (this is what 'sluice -c FILE' does)."`
	Run      runCommand      `cmd:"" help:"Proxy from one address to others without a configuration file."`
	Validate validateCommand `cmd:"" help:"Check a configuration file and exit."`
	Origin   originCommand   `cmd:"" help:"Run the demo origin: a fast HTTP server to proxy to."`
	Bench    benchCommand    `cmd:"" help:"Load-test an HTTP address."`

	Version kong.VersionFlag `help:"Print the version and exit."`
}

// serveCommand holds Envoy's flags (operations.md section 1).
type serveCommand struct {
	ConfigPath string `short:"c" name:"config-path" placeholder:"FILE" help:"Configuration file: .yaml, .yml or .json."`
	ConfigYAML string `name:"config-yaml" placeholder:"YAML" help:"Configuration text, merged over the file."`
	Mode       string `default:"serve" enum:"serve,validate" help:"serve, or validate: check the configuration and exit."`

	processFlags

	AdminAddressPath   string `name:"admin-address-path" placeholder:"FILE" help:"Write the admin listener's address here."`
	AllowUnknownFields bool   `name:"allow-unknown-static-fields" aliases:"allow-unknown-fields" help:"Count unknown configuration fields instead of refusing them."`
	NoWatch            bool   `name:"no-watch" help:"Do not re-read the configuration file when it changes (SIGHUP still does)."`

	ServiceCluster string `name:"service-cluster" placeholder:"NAME" help:"Overrides node.cluster."`
	ServiceNode    string `name:"service-node" placeholder:"ID" help:"Overrides node.id."`
	ServiceZone    string `name:"service-zone" placeholder:"ZONE" help:"Overrides node.locality.zone."`

	hotRestartFlags
}

// processFlags are shared by everything that runs a proxy.
type processFlags struct {
	Concurrency int    `default:"-1" placeholder:"N" help:"Event loops; the usable cores by default, 0 means 1."`
	LogLevel    string `short:"l" name:"log-level" default:"info" enum:"trace,debug,info,warning,warn,error,critical,off" help:"Operational log: ${enum}."`
	LogPath     string `name:"log-path" placeholder:"FILE" help:"Operational log file; standard error by default. Re-opened on SIGUSR1."`
	DrainTimeS  int    `name:"drain-time-s" default:"600" placeholder:"SECONDS" help:"Longest time to let requests finish when stopping."`

	FileFlushIntervalMsec int `name:"file-flush-interval-msec" default:"0" placeholder:"MS" help:"How often access-log buffers are written; the configuration's or 10000 by default."`
}

// hotRestartFlags are accepted because Envoy's command lines carry them. Processes never share
// state here, so any value behaves like --disable-hot-restart.
type hotRestartFlags struct {
	BaseID            uint32 `name:"base-id" help:"Accepted for Envoy's command lines; processes never collide here."`
	UseDynamicBaseID  bool   `name:"use-dynamic-base-id" hidden:""`
	DisableHotRestart bool   `name:"disable-hot-restart" hidden:""`
}

func (p *processFlags) drainTime() time.Duration { return time.Duration(p.DrainTimeS) * time.Second }

// check refuses values the types allow.
func (p *processFlags) check() error {
	if p.DrainTimeS < 0 {
		return fmt.Errorf("--drain-time-s: %d is negative", p.DrainTimeS)
	}
	if p.Concurrency < -1 {
		return fmt.Errorf("--concurrency: %d is negative", p.Concurrency)
	}
	if p.FileFlushIntervalMsec < 0 {
		return fmt.Errorf("--file-flush-interval-msec: %d is negative", p.FileFlushIntervalMsec)
	}
	return nil
}

// loops is --concurrency as the engine understands it: 0 there means the usable cores.
func (p *processFlags) loops() int {
	switch p.Concurrency {
	case -1:
		return 0
	case 0:
		return 1
	}
	return p.Concurrency
}

// version is set by the Makefile.
var version = "dev"

// versionString has Envoy's form: revision/version/status/build/TLS library.
func versionString() string {
	revision, status := "unknown", "Clean"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				status = "Modified"
			}
		}
	}
	return fmt.Sprintf("%s/%s/%s/RELEASE/%s", revision, version, status, runtime.Version())
}

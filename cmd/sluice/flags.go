package main

import (
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/alecthomas/kong"
)

// commands is the command line: Envoy's flags at the top (so that its command lines work as they
// are), and subcommands beside them.
type commands struct {
	Serve    serveCommand    `cmd:"" default:"withargs" hidden:"" help:"Run a configuration file; the same as 'sluice -c FILE'."`
	Run      runCommand      `cmd:"" help:"Proxy from one address to others without a configuration file."`
	Validate validateCommand `cmd:"" help:"Check a configuration file and exit."`
	Explain  explainCommand  `cmd:"" help:"Say where a request would go with a configuration file, and why."`
	Diff     diffCommand     `cmd:"" help:"Say what a change of a configuration file means."`
	Origin   originCommand   `cmd:"" help:"Run the demo origin: a fast HTTP server to proxy to."`
	Bench    benchCommand    `cmd:"" help:"Load-test an HTTP address."`

	Version kong.VersionFlag `help:"Print the version and exit."`
}

// serveCommand holds Envoy's flags (operations.md section 1). Each one either does what it does in
// Envoy, or is in a group that says it does not.
type serveCommand struct {
	ConfigPath string `short:"c" name:"config-path" placeholder:"FILE" help:"Configuration file: .yaml, .yml or .json. Re-read on SIGHUP and when it changes."`
	ConfigYAML string `name:"config-yaml" placeholder:"YAML" help:"Configuration text, merged over the file."`
	Mode       string `default:"serve" enum:"serve,validate" help:"serve, or validate: check the configuration and exit."`

	processFlags

	AdminAddressPath   string `name:"admin-address-path" placeholder:"FILE" help:"Write the admin listener's address here."`
	AllowUnknownFields bool   `name:"allow-unknown-static-fields" aliases:"allow-unknown-fields" help:"Count unknown configuration fields instead of refusing them."`
	NoWatch            bool   `name:"no-watch" help:"Do not re-read the configuration file when it changes (SIGHUP still does). Not a flag of Envoy."`

	ServiceCluster string `name:"service-cluster" placeholder:"NAME" help:"Overrides node.cluster."`
	ServiceNode    string `name:"service-node" placeholder:"ID" help:"Overrides node.id."`
	ServiceZone    string `name:"service-zone" placeholder:"ZONE" help:"Overrides node.locality.zone."`

	HotRestartVersion  bool `name:"hot-restart-version" help:"Print 'disabled' and exit: there is no hot restart."`
	EnableMutexTracing bool `name:"enable-mutex-tracing" help:"Count contended locks, for /contention and /debug/pprof/mutex."`
	EnableCoreDump     bool `name:"enable-core-dump" help:"Abort with a core dump when the process crashes."`

	inertFlags
	refusedFlags
}

// processFlags are shared by everything that runs a proxy.
type processFlags struct {
	Concurrency int    `default:"-1" placeholder:"N" help:"Event loops; the usable cores by default, 0 means 1."`
	LogLevel    string `short:"l" name:"log-level" default:"info" enum:"trace,debug,info,warning,warn,error,critical,off" placeholder:"LEVEL" help:"Operational log: trace, debug, info (default), warning, error, critical or off."`
	LogPath     string `name:"log-path" placeholder:"FILE" help:"Operational log file; standard error by default. Re-opened on SIGUSR1."`

	DrainTimeS    int    `name:"drain-time-s" default:"600" placeholder:"SECONDS" help:"Longest time to let requests finish on SIGTERM, and how long a listener drains; default 600."`
	DrainStrategy string `name:"drain-strategy" default:"immediate" enum:"gradual,immediate" placeholder:"STRATEGY" help:"While draining, immediate (default) ends every connection with its next response; gradual lets the share that ends grow over the drain time. Envoy's default is gradual."`

	FileFlushIntervalMsec int `name:"file-flush-interval-msec" default:"0" placeholder:"MS" help:"How often access-log buffers are written; default 10000."`
}

// inertFlags are accepted because Envoy's command lines carry them, and change nothing: processes
// share no state (hot restart), there is one logger, and no configuration comes from a server.
type inertFlags struct {
	BaseID             uint32 `name:"base-id" group:"inert" placeholder:"N" help:"Processes never collide here."`
	UseDynamicBaseID   bool   `name:"use-dynamic-base-id" group:"inert" help:"As --base-id."`
	DisableHotRestart  bool   `name:"disable-hot-restart" group:"inert" help:"It always is."`
	RestartEpoch       uint32 `name:"restart-epoch" group:"inert" placeholder:"0" help:"Only 0 is accepted."`
	ParentShutdown     uint32 `name:"parent-shutdown-time-s" group:"inert" placeholder:"SECONDS" help:"There is never a parent process."`
	SocketPath         string `name:"socket-path" group:"inert" placeholder:"PATH" help:"The hot restart socket is not opened."`
	SocketMode         string `name:"socket-mode" group:"inert" placeholder:"MODE" help:"As --socket-path."`
	SkipNoParent       bool   `name:"skip-hot-restart-on-no-parent" group:"inert" help:"There is never a parent process."`
	SkipParentStats    bool   `name:"skip-hot-restart-parent-stats" group:"inert" help:"There is never a parent process."`
	CpusetThreads      bool   `name:"cpuset-threads" group:"inert" help:"The default concurrency counts the cores of the cpuset in any case."`
	LocalIPVersion     string `name:"local-address-ip-version" group:"inert" default:"v4" enum:"v4" placeholder:"v4" help:"Only v4 is accepted."`
	RejectDynamic      bool   `name:"reject-unknown-dynamic-fields" group:"inert" help:"No configuration comes from a management server."`
	IgnoreDynamic      bool   `name:"ignore-unknown-dynamic-fields" group:"inert" help:"No configuration comes from a management server."`
	SkipDeprecatedLogs bool   `name:"skip-deprecated-logs" group:"inert" help:"Deprecated fields are not logged."`
	FineGrainLogging   bool   `name:"enable-fine-grain-logging" group:"inert" help:"There is one logger."`
}

// refusedFlags are Envoy's too, but to ignore them would do something else than what was asked for.
type refusedFlags struct {
	ComponentLogLevel *string `name:"component-log-level" group:"refused" placeholder:"LEVELS" help:"There is one logger; use --log-level."`
	LogFormat         *string `name:"log-format" group:"refused" placeholder:"FORMAT" help:"The operational log is key=value text."`
	LogFormatEscaped  *bool   `name:"log-format-escaped" group:"refused" help:"The operational log is always escaped, one line for each message."`
	BaseIDPath        *string `name:"base-id-path" group:"refused" placeholder:"FILE" help:"There is no hot restart, so there is no base id to write."`
	DisableExtensions *string `name:"disable-extensions" group:"refused" placeholder:"NAMES" help:"Extensions cannot be left out one by one."`
	StatsTag          *string `name:"stats-tag" group:"refused" placeholder:"TAG" help:"The tags of statistics are the built-in ones."`
}

// flagGroups are the headings of --help.
var flagGroups = []kong.Group{
	{Key: "inert", Title: "Flags of Envoy that are accepted and have no effect:"},
	{Key: "refused", Title: "Flags of Envoy that are refused:"},
}

// check says why the first of them that was given is refused, in the words of its help.
func (f *refusedFlags) check() error {
	v := reflect.ValueOf(f).Elem()
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag; !v.Field(i).IsNil() {
			return fmt.Errorf("--%s is not supported: %s", tag.Get("name"), tag.Get("help"))
		}
	}
	return nil
}

func (c *serveCommand) check() error {
	if c.RestartEpoch != 0 {
		return fmt.Errorf("--restart-epoch %d is not supported: there is no hot restart, only epoch 0", c.RestartEpoch)
	}
	if err := c.refusedFlags.check(); err != nil {
		return err
	}
	return c.processFlags.check()
}

// drainTime is --drain-time-s as the proxy understands it: 0 there means its default.
func (p *processFlags) drainTime() time.Duration {
	return max(1, time.Duration(p.DrainTimeS)*time.Second)
}

// check refuses values the types allow.
func (p *processFlags) check() error {
	for _, f := range []struct {
		flag         string
		value, least int
		most         int
	}{
		{"drain-time-s", p.DrainTimeS, 0, 1 << 30},
		{"concurrency", p.Concurrency, -1, maxLoops},
		{"file-flush-interval-msec", p.FileFlushIntervalMsec, 0, 1 << 30},
	} {
		if f.value < f.least {
			return fmt.Errorf("--%s: %d is negative", f.flag, f.value)
		}
		if f.value > f.most {
			return fmt.Errorf("--%s: %d is too large; at most %d", f.flag, f.value, f.most)
		}
	}
	return nil
}

// maxLoops bounds --concurrency: more loops than any machine has cores is a slip of the hand.
const maxLoops = 1024

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

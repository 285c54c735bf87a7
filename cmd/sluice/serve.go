package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/admin"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/envoy"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/ondemand"
	"github.com/sluiceproxy/sluice/proxy/route"
)

// Run loads the configuration and serves it until a signal ends the process.
func (c *serveCommand) Run() error {
	if c.HotRestartVersion {
		fmt.Println("disabled")
		return nil
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.ConfigPath == "" && c.ConfigYAML == "" {
		return errors.New("no configuration: give -c FILE or --config-yaml, or try 'sluice run --help'")
	}
	if c.Mode == "validate" {
		return c.validate()
	}
	first, err := c.load()
	if err != nil {
		return err
	}
	if c.EnableMutexTracing {
		runtime.SetMutexProfileFraction(1)
	}
	if c.EnableCoreDump {
		debug.SetTraceback("crash")
	}
	p := process{flags: c.processFlags, adminPath: c.AdminAddressPath, reload: c.load, options: c.processFlags.options()}
	if c.ConfigPath != "" && !c.NoWatch {
		p.watch = c.ConfigPath
	}
	for name, value := range map[string]string{
		"config_path": c.ConfigPath, "config_yaml": c.ConfigYAML, "admin_address_path": c.AdminAddressPath,
		"service_cluster": c.ServiceCluster, "service_node": c.ServiceNode, "service_zone": c.ServiceZone,
	} {
		p.options[name] = value
	}
	p.options["base_id"] = strconv.FormatUint(uint64(c.BaseID), 10)
	p.options["allow_unknown_static_fields"] = c.AllowUnknownFields
	return p.serve(first)
}

// options are the flags as /server_info shows them (admin.v3.CommandLineOptions).
func (p *processFlags) options() map[string]any {
	flush := p.FileFlushIntervalMsec
	if flush == 0 {
		flush = 10000
	}
	return map[string]any{
		"concurrency": p.threads(), "mode": "Serve", "log_level": p.LogLevel, "log_path": p.LogPath,
		"drain_time": strconv.Itoa(p.DrainTimeS) + "s", "drain_strategy": strings.ToUpper(p.DrainStrategy[:1]) + p.DrainStrategy[1:],
		"file_flush_interval":      strconv.FormatFloat(float64(flush)/1000, 'f', -1, 64) + "s",
		"local_address_ip_version": "v4", "disable_hot_restart": true, "restart_epoch": 0,
	}
}

// threads is how many loops will run.
func (p *processFlags) threads() int {
	if n := p.loops(); n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// source is what the flags say the configuration is.
func (c *serveCommand) source() envoy.Source {
	return envoy.Source{Path: c.ConfigPath, Overlay: c.ConfigYAML, AllowUnknown: c.AllowUnknownFields, CheckFormat: checkFormat, CheckGenericFormat: checkGenericFormat}
}

func checkFormat(text string) error {
	_, err := format.Compile(text)
	return err
}

// checkGenericFormat is checkFormat for the access logs of generic proxies.
func checkGenericFormat(text string) error {
	_, err := format.CompileGeneric(text, false)
	return err
}

func (c *serveCommand) load() (*envoy.Result, error) {
	r, err := envoy.Load(c.source())
	if err != nil {
		return nil, firstLine(err)
	}
	node := &r.Conf.Node
	for _, o := range []struct {
		flag string
		to   *string
	}{{c.ServiceCluster, &node.Cluster}, {c.ServiceNode, &node.ID}, {c.ServiceZone, &node.Zone}} {
		if o.flag != "" {
			*o.to = o.flag
		}
	}
	return r, nil
}

func (c *serveCommand) validate() error {
	r, err := c.load()
	if err != nil {
		return err
	}
	if err := compiles(r.Conf); err != nil {
		return err
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(os.Stderr, "warning:", w)
	}
	path := c.ConfigPath
	if path == "" {
		path = "--config-yaml"
	}
	fmt.Printf("configuration '%s' OK\n", path)
	return nil
}

// compiles goes as far with a configuration as one can without opening a socket or a file.
func compiles(b *conf.Bootstrap) error {
	for i, l := range b.Listeners {
		for _, chain := range l.Chains() {
			if chain.HTTP == nil {
				continue
			}
			if _, err := route.CompileRoutes(chain.HTTP, route.Options{}); err != nil {
				return fmt.Errorf("listeners[%d] %q: %w", i, l.Name, err)
			}
		}
	}
	return cluster.Validate(b.Clusters)
}

// firstLine keeps the first of several configuration errors: it is usually the cause of the others.
func firstLine(err error) error {
	text := err.Error()
	line, rest, more := strings.Cut(text, "\n")
	if !more {
		return err
	}
	return fmt.Errorf("%s (and %d more)", line, strings.Count(rest, "\n")+1)
}

// process is one running proxy with its admin listener, log and signals.
type process struct {
	flags     processFlags
	adminPath string
	// reload reads the configuration again; nil when there is nothing to read.
	reload func() (*envoy.Result, error)
	// watch is the file to watch; empty for none.
	watch   string
	options map[string]any
	// ready runs once the proxy is live; without an admin listener a is nil.
	ready func(s *proxy.Server, a *admin.Server)

	log    *logger
	server *proxy.Server
	admin  *admin.Server
	// adminConf is what admin was made of.
	adminConf *conf.Admin
	// leaving is set by SIGTERM: from then on no new configuration is taken.
	leaving bool
}

func (p *process) serve(first *envoy.Result) (err error) {
	if p.log, err = newLogger(p.flags.LogPath, p.flags.LogLevel); err != nil {
		return err
	}
	p.apply(first)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	p.server, err = proxy.New(proxy.Options{
		Config: first.Conf, Concurrency: p.flags.loops(), Logger: p.log.Logger, DrainTime: p.flags.drainTime(),
		GradualDrain: p.flags.DrainStrategy == "gradual",
		OnDemandClusters: func(path string) (cluster.Provider, error) {
			return ondemand.NewDirectory(path, envoy.LoadCluster, p.log.Logger), nil
		},
	})
	if err != nil {
		return err
	}
	defer p.server.Close()
	p.server.ServerStats().StaticUnknownFields.Add(uint64(first.UnknownFields))
	quit := make(chan struct{}, 1)
	if err := p.openAdmin(first.Conf, quit); err != nil {
		return err
	}
	if p.admin != nil {
		defer p.admin.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- p.server.Start(ctx) }()
	changed, stopWatch := watchFile(p.watch, p.log.Logger)
	defer stopWatch()
	drained := make(chan struct{})
	for {
		select {
		case err := <-started:
			if err != nil {
				return err
			}
			p.log.Info("live", "loops", p.flags.threads(), "version", versionString())
			if p.ready != nil {
				p.ready(p.server, p.admin)
			}
		case <-changed:
			p.update("file changed")
		case <-quit:
			return nil
		case <-drained:
			return nil
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				p.update("SIGHUP")
			case syscall.SIGUSR1:
				p.reopen()
			case syscall.SIGTERM:
				if p.leaving {
					return nil // the second one ends at once (OP-2)
				}
				p.leaving = true
				go func() {
					p.server.Drain(ctx)
					close(drained)
				}()
			default:
				return nil
			}
		}
	}
}

// apply folds flags into a loaded configuration and prints its warnings.
func (p *process) apply(r *envoy.Result) {
	if ms := p.flags.FileFlushIntervalMsec; ms > 0 {
		r.Conf.AccessLogFlushInterval = time.Duration(ms) * time.Millisecond
	}
	for _, w := range r.Warnings {
		p.log.Warn(w)
	}
}

// update re-reads the configuration, all or nothing (AMB-27).
func (p *process) update(why string) {
	if p.reload == nil || p.leaving {
		return
	}
	r, err := p.reload()
	if err != nil {
		p.server.Reject(err)
		p.log.Error("configuration rejected; the running one stays", "cause", why, "error", err)
		return
	}
	p.apply(r)
	if err := p.server.Apply(r.Conf); err != nil {
		p.log.Error("configuration rejected; the running one stays", "cause", why, "error", err)
		return
	}
	if p.adminConf != nil && !reflect.DeepEqual(p.adminConf, r.Conf.Admin) || p.adminConf == nil && r.Conf.Admin != nil {
		p.log.Warn("the admin listener stays as it was started; a change of admin needs a restart")
	}
	p.log.Info("configuration applied", "cause", why, "listeners", len(r.Conf.Listeners), "clusters", len(r.Conf.Clusters))
}

func (p *process) reopen() {
	if err := p.log.reopen(); err != nil {
		p.log.Error("log not re-opened", "error", err)
	}
	p.server.Logs().Reopen()
}

func (p *process) openAdmin(c *conf.Bootstrap, quit chan struct{}) error {
	p.adminConf = c.Admin
	if c.Admin == nil {
		if p.adminPath != "" {
			p.log.Warn("--admin-address-path is not written: the configuration has no admin listener")
		}
		return nil
	}
	a, err := admin.New(admin.Options{
		Server: p.server, Config: c.Admin, Version: versionString(), Log: p.log.Logger, Levels: p.log, CommandLine: p.options,
		Quit: func() {
			select {
			case quit <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		return fmt.Errorf("admin.address: %w", err)
	}
	p.admin = a
	p.log.Info("admin listening", "address", a.Addr())
	if p.adminPath == "" {
		return nil
	}
	if err := os.WriteFile(p.adminPath, []byte(a.Addr().String()), 0o644); err != nil {
		return fmt.Errorf("--admin-address-path: %w", err)
	}
	return nil
}

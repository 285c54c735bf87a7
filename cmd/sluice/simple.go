package main

import (
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/admin"
	"github.com/sluiceproxy/sluice/proxy/envoy"
)

// runCommand proxies from one address to others: it writes the Envoy configuration and runs that.
type runCommand struct {
	From        string   `default:":8080" placeholder:"ADDR" help:"Listen here: ':8080', '127.0.0.1:8080', '[::1]:8080' or 'unix:/path'."`
	To          []string `placeholder:"ADDR" help:"Proxy to these, in turn: '127.0.0.1:9000', 'name:9000' or 'unix:/path'."`
	Demo        bool     `help:"Start the demo origin on a free port and proxy to it."`
	AccessLog   bool     `name:"access-log" help:"Write one line for each request to standard output."`
	Admin       string   `placeholder:"ADDR" help:"Serve the admin interface here, for example 127.0.0.1:9901."`
	PrintConfig bool     `name:"print-config" help:"Print the configuration instead of running it."`

	processFlags
}

// Run implements the subcommand.
func (c *runCommand) Run() error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Demo == (len(c.To) > 0) {
		return fmt.Errorf("run: give either --to ADDR or --demo")
	}
	if c.Demo && !c.PrintConfig {
		demo, err := origin.New(origin.Options{Name: "sluice"})
		if err != nil {
			return err
		}
		defer demo.Stop()
		c.To = []string{demo.Addr().String()}
	} else if c.Demo {
		c.To = []string{"127.0.0.1:9000"}
	}
	text, err := envoy.Write(envoy.Simple{From: c.From, To: c.To, AccessLog: c.AccessLog, Admin: c.Admin})
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if c.PrintConfig {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	r, err := envoy.Load(envoy.Source{Data: []byte(text), Path: "run.yaml", CheckFormat: checkFormat, CheckGenericFormat: checkGenericFormat})
	if err != nil {
		return err
	}
	p := process{flags: c.processFlags, ready: c.announce, options: c.processFlags.options()}
	return p.serve(r)
}

// announce tells what to try, with the port really bound.
func (c *runCommand) announce(s *proxy.Server, a *admin.Server) {
	for _, l := range s.Listeners() {
		for _, a := range l.Addresses {
			fmt.Printf("proxying %s -> %s\n", a, strings.Join(c.To, ", "))
			if u, ok := a.(*net.UnixAddr); ok {
				fmt.Printf("try:  curl -i --unix-socket %s http://localhost/\n", u.Name)
				continue
			}
			fmt.Printf("try:  curl -i http://%s/\n", tryAddress(a))
		}
	}
	if a == nil {
		return
	}
	if u, ok := a.Addr().(*net.UnixAddr); ok {
		fmt.Printf("admin: curl --unix-socket %s http://localhost/help\n", u.Name)
		return
	}
	fmt.Printf("admin: http://%s/\n", tryAddress(a.Addr()))
}

// tryAddress is an address a client on this machine can use: the wildcard becomes loopback.
func tryAddress(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

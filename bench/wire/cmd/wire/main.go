// Command wire runs the conformance corpus against a proxy.
//
//	wire -target sluice -bin bin/sluice
//	wire -target nginx -run smuggling/
//	wire -target 127.0.0.1:8080 -origin 127.0.0.1:9000 -profile default
//
// The last form is for a proxy that runs already, with a configuration that answers to the profile
// and 127.0.0.1:9000 as its only upstream. The exit status is 1 when a case fails.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/sluiceproxy/sluice/bench/wire"
)

func main() {
	failed, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func run() (failed bool, err error) {
	var opt wire.Options
	name := flag.String("target", "sluice", "sluice, nginx, haproxy or the address of a running proxy")
	bin := flag.String("bin", "", "program to start for the target (default: found by name)")
	profile := flag.String("profile", "default", "profile a running proxy is configured for: "+strings.Join(wire.Profiles(), ", "))
	match := flag.String("run", "", "run only the cases whose id matches this regular expression")
	verbose := flag.Bool("v", false, "print listed differences too")
	list := flag.Bool("list", false, "print the cases and end")
	update := flag.String("update", "", "folder of the case files: rewrite the target's listed differences there")
	flag.StringVar(&opt.OriginAddr, "origin", "", "where the origin listens, for a running proxy")
	flag.DurationVar(&opt.Timeout, "timeout", 0, "bound of every single wait (default 3s)")
	flag.IntVar(&opt.Workers, "workers", 0, "proxy instances at a time (default: the processors)")
	flag.IntVar(&opt.Cut, "cut", 0, "send the client's bytes in pieces of this size")
	flag.Parse()

	cases, err := selected(*match)
	if err != nil {
		return false, err
	}
	if *list {
		for _, c := range cases {
			fmt.Printf("%-45s %-18s %s\n", c.ID, c.Profile, c.Says)
		}
		return false, nil
	}
	target, err := targetOf(*name, *bin, *profile, opt.OriginAddr)
	if err != nil {
		return false, err
	}
	results := wire.Run(target, cases, opt)
	wire.WriteReport(os.Stdout, target.Name, results, *verbose)
	if *update != "" {
		return false, wire.Update(*update, target.Name, results)
	}
	return len(wire.Unexpected(results)) > 0, nil
}

func selected(match string) ([]*wire.Case, error) {
	all, err := wire.Corpus()
	if err != nil {
		return nil, err
	}
	re, err := regexp.Compile(match)
	if err != nil {
		return nil, err
	}
	var out []*wire.Case
	for _, c := range all {
		if re.MatchString(c.ID) {
			out = append(out, c)
		}
	}
	return out, nil
}

func targetOf(name, bin, profile, originAddr string) (wire.Target, error) {
	if bin == "" {
		bin = name
	}
	switch name {
	case "sluice":
		return wire.Sluice(bin), nil
	case "nginx":
		return wire.Nginx(bin), nil
	case "haproxy":
		return wire.HAProxy(bin), nil
	}
	if originAddr == "" || !wire.KnownProfile(profile) {
		return wire.Target{}, fmt.Errorf("a running proxy needs -origin and a known -profile")
	}
	return wire.Fixed(name, profile), nil
}

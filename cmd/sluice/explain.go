package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/explain"
)

// explainCommand says where a request would go and why.
type explainCommand struct {
	ConfigPath         string        `short:"c" name:"config-path" required:"" placeholder:"FILE" help:"Configuration file: .yaml, .yml or .json."`
	Method             string        `arg:"" help:"Request method: GET, POST, ..."`
	URL                string        `arg:"" help:"What is asked for, absolute: https://api.example.com/v1?x=1. Its port leads to the listener."`
	Header             []string      `short:"H" sep:"none" placeholder:"NAME:VALUE" help:"A request header; may be repeated. Host replaces the URL's."`
	From               string        `placeholder:"IP[:PORT]" help:"The client's address; one that belongs to nobody by default."`
	SNI                string        `name:"sni" placeholder:"NAME" help:"Server name of the TLS handshake; the URL's host by default."`
	ALPN               []string      `name:"alpn" placeholder:"NAME" help:"Application protocols the handshake offers."`
	Listener           string        `placeholder:"NAME" help:"The listener, where the URL's port does not tell."`
	Random             uint64        `help:"The number by which chance decides (runtime_fraction, weighted_clusters)."`
	Format             string        `default:"text" enum:"text,json" help:"text or json."`
	ResolveTime        time.Duration `name:"resolve-time" default:"2s" help:"How long to wait for names of hosts to be resolved."`
	AllowUnknownFields bool          `name:"allow-unknown-static-fields" help:"Leave unknown fields out instead of refusing the file."`
}

// Run implements the subcommand.
func (c *explainCommand) Run() error {
	q := explain.Question{Method: c.Method, URL: c.URL, SNI: c.SNI, ALPN: c.ALPN, Listener: c.Listener, Random: c.Random}
	for _, h := range c.Header {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return fmt.Errorf("header %q: a colon is missing", h)
		}
		q.Header = append(q.Header, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	if c.From != "" {
		var err error
		if q.From, err = clientAddress(c.From); err != nil {
			return err
		}
	}
	file := serveCommand{ConfigPath: c.ConfigPath, AllowUnknownFields: c.AllowUnknownFields}
	r, err := file.load()
	if err != nil {
		return err
	}
	a, err := proxy.Explain(r.Conf, &q, proxy.ExplainOptions{ResolveTime: c.ResolveTime})
	if err != nil {
		return err
	}
	if c.Format == "json" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(a)
	}
	_, err = a.WriteTo(os.Stdout)
	return err
}

func clientAddress(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.AddrPort{}, errors.New("--from: " + err.Error())
	}
	return netip.AddrPortFrom(a, 50000), nil
}

package proxy_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/envoy"
)

const answering = `
static_resources:
  listeners:
  - name: in
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - { name: all, domains: ["*"], routes: [ { match: { prefix: "/" }, direct_response: { status: 200, body: { filename: BODY } } } ] }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
`

func load(t *testing.T, body string) proxy.Options {
	t.Helper()
	r, err := envoy.Load(envoy.Source{Path: "drain.yaml", Data: []byte(strings.ReplaceAll(answering, "BODY", body))})
	if err != nil {
		t.Fatal(err)
	}
	return proxy.Options{Config: r.Conf, Concurrency: 1}
}

func serve(t *testing.T, o proxy.Options) (s *proxy.Server, get func() (body string, closes bool)) {
	t.Helper()
	s, err := proxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	url := "http://" + s.Listeners()[0].Addresses[0].String() + "/"
	return s, func() (string, bool) {
		t.Helper()
		resp, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), resp.Close
	}
}

func bodyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The configuration's text is the same, the file it names is not.
func TestApplyNoticesAChangedBodyFile(t *testing.T) {
	path := bodyFile(t, "one")
	s, get := serve(t, load(t, path))
	if body, _ := get(); body != "one" {
		t.Fatalf("%q", body)
	}
	if err := os.WriteFile(path, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(load(t, path).Config); err != nil {
		t.Fatal(err)
	}
	if body, _ := get(); body != "two" {
		t.Errorf("%q after the file changed", body)
	}
}

// OP-51, immediate: from the drain on, every response ends its connection.
func TestImmediateDrainEndsEveryConnection(t *testing.T) {
	s, get := serve(t, load(t, bodyFile(t, "x")))
	if _, closes := get(); closes {
		t.Fatal("closes before the drain")
	}
	s.DrainListeners(proxy.ListenerDrain{Graceful: true})
	for range 10 {
		if _, closes := get(); !closes {
			t.Fatal("a connection stays")
		}
	}
}

// OP-51, gradual: just after the beginning of a long drain (almost) no response ends its connection,
// at the end of a short one all do, and on the way there some do and some do not.
func TestGradualDrainGrows(t *testing.T) {
	o := load(t, bodyFile(t, "x"))
	o.GradualDrain, o.DrainTime = true, time.Hour
	s, get := serve(t, o)
	s.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
	closed := 0
	for range 50 {
		if _, closes := get(); closes {
			closed++
		}
	}
	if closed > 5 {
		t.Errorf("%d of 50 connections ended at the beginning of an hour", closed)
	}

	o = load(t, bodyFile(t, "x"))
	o.GradualDrain, o.DrainTime = true, 300*time.Millisecond
	s, get = serve(t, o)
	s.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
	var stayed, ended int
	for last := 0; last < 20; {
		if _, closes := get(); closes {
			ended++
			last++
		} else {
			stayed++
			last = 0
		}
	}
	if stayed == 0 || ended < 20 {
		t.Errorf("%d stayed, %d ended", stayed, ended)
	}
}

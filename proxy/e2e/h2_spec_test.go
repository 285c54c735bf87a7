package e2e

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/summerwind/h2spec"
	"github.com/summerwind/h2spec/config"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// TestH2Spec runs the h2spec conformance suite, all of it. The listener speaks HTTP/2 alone: with AUTO
// a bad preface is an HTTP/1 request, and answered as one.
func TestH2Spec(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	top := one(o)
	b := harness.Load(t, top.YAML(t.TempDir()+"/log"))
	b.Listeners[0].FilterChains[0].HTTP.CodecType = conf.CodecHTTP2
	p := harness.StartConf(t, b, 1, "", o)
	host, text, err := net.SplitHostPort(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	ok, err := h2spec.Run(&config.Config{
		Host: host, Port: port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000,
		Sections: []string{},
	})
	if err != nil || !ok {
		t.Errorf("the suite failed (its report is above): %v", err)
	}
}

package e2e

import (
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// routing.md 7.2: how long a whole response may wait for the client's window is the route's
// flush_timeout, else the manager's stream_flush_timeout, else the route's idle_timeout.
func TestRT77FlushTimeout(t *testing.T) {
	harness.NoLeaks(t)
	const short = 200 * time.Millisecond
	for name, set := range map[string]func(m *conf.HTTPConnectionManager, a *conf.RouteAction){
		"the route's": func(_ *conf.HTTPConnectionManager, a *conf.RouteAction) {
			a.FlushTimeout, a.HasFlushTimeout = short, true
		},
		"the manager's": func(m *conf.HTTPConnectionManager, _ *conf.RouteAction) {
			m.StreamFlushTimeout, m.HasStreamFlushTimeout = short, true
		},
		"the route's idle one": func(_ *conf.HTTPConnectionManager, a *conf.RouteAction) {
			a.IdleTimeout, a.HasIdleTimeout = short, true
		},
		"the route's before all ": func(m *conf.HTTPConnectionManager, a *conf.RouteAction) {
			a.FlushTimeout, a.HasFlushTimeout, m.HasStreamFlushTimeout = short, true, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := serveH2(t, one(harness.NewOrigin(t, "a")), func(m *conf.HTTPConnectionManager) { set(m, m.Routes.VirtualHosts[0].Routes[0].Action) })
			w := dialH2(t, p, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5})
			w.get(1, "/")
			w.want("head 1 200 content-length=13", `data 1 "hello"`)
			w.want("reset 1 CANCEL")
			w.Conn.Close()
			p.WantStats(harness.Stats{"http2.tx_flush_timeout": 1, "http2.deferred_stream_close": 0})
		})
	}
}

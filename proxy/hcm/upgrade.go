package hcm

import (
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// This file is which requests ask for a tunnel and which of them get one (upgrades.md 1, 2 and 5). What
// a tunnel then does is in tunnel.go.

// tunnelKind is what a request asks for.
type tunnelKind uint8

const (
	// noTunnel: an answer.
	noTunnel tunnelKind = iota
	// upgradeTunnel: an HTTP/1 upgrade, or extended CONNECT, which has the form of one here.
	upgradeTunnel
	// connectTunnel: CONNECT.
	connectTunnel
	// postTunnel: POST, on a route that takes its payload as TCP (allow_post).
	postTunnel
)

func (k tunnelKind) String() string { return [...]string{"none", "upgrade", "connect", "post"}[k] }

// upgrades is what a connection manager and its routes say of tunnels. Immutable.
type upgrades struct {
	list   []conf.Upgrade
	chains []*filterChain // of each; nil without filters of its own
	ignore []match.Text
	// connect: some entry enables CONNECT (AMB-11). post: some route has allow_post.
	connect, post bool
	// tlvs are those of the PROXY headers of connect_config.
	tlvs map[*conf.ConnectConfig][]worker.TLV
}

func compileUpgrades(c *conf.HTTPConnectionManager, d *Deps) (upgrades, error) {
	u := upgrades{list: c.Upgrades}
	for i := range c.HTTP1.IgnoreUpgrades {
		m, err := match.CompileText(c.HTTP1.IgnoreUpgrades[i])
		if err != nil {
			return u, fmt.Errorf("http_protocol_options.ignore_http_11_upgrade[%d]: %w", i, err)
		}
		u.ignore = append(u.ignore, m)
	}
	for i := range u.list {
		chain, err := compileFilters(u.list[i].Filters, c.RouteTables(), d, stats.Clean(c.StatPrefix), true)
		if err != nil {
			return u, fmt.Errorf("upgrade_configs[%d]: %w", i, err)
		}
		u.chains = append(u.chains, chain)
		u.connect = u.connect || u.list[i].Type == conf.UpgradeConnect && !u.list[i].Disabled
	}
	for _, table := range c.RouteTables() {
		for _, vh := range table.VirtualHosts {
			for _, r := range vh.Routes {
				if r.Action == nil {
					continue
				}
				if err := u.addRoute(r.Action.Upgrades); err != nil {
					return u, fmt.Errorf("route_config: virtual host %s: %w", vh.Name, err)
				}
			}
		}
	}
	return u, nil
}

func (u *upgrades) addRoute(list []conf.RouteUpgrade) error {
	for i := range list {
		e := &list[i]
		if e.Type != conf.UpgradeConnect || e.Disabled {
			continue
		}
		u.connect = true
		if e.Connect == nil {
			continue
		}
		u.post = u.post || e.Connect.AllowPost
		p := e.Connect.ProxyProtocol
		if p == nil {
			continue
		}
		for j := range p.Added {
			t, err := worker.CompileTLV(&p.Added[j])
			if err != nil {
				return fmt.Errorf("upgrade_configs[%d].connect_config.proxy_protocol_config.added_tlvs[%d]: %w", i, j, err)
			}
			if u.tlvs == nil {
				u.tlvs = map[*conf.ConnectConfig][]worker.TLV{}
			}
			u.tlvs[e.Connect] = append(u.tlvs[e.Connect], t)
		}
	}
	return nil
}

// asksForTunnel looks at a request head that has just come by HTTP/1 and has HasUpgrade or is CONNECT:
// whether what follows the head is a tunnel's. An upgrade that is never honoured is taken out (UP-1), as
// if it had not been asked for.
func (st *stream) asksForTunnel() bool {
	h := &st.req
	if h.Method != header.MethodConnect && st.ignoresUpgrade() {
		h.HasUpgrade = false
		return false
	}
	st.tun.body = h.ContentLength > 0 || h.Transfer == header.Chunked
	h.Transfer = header.Tunnel
	st.beginTunnel()
	return true
}

// ignoresUpgrade says whether the upgrade is to h2c, or to what ignore_http_11_upgrade names.
func (st *stream) ignoresUpgrade() bool {
	value := st.upgradeValue()
	if header.EqualFold(value, "h2c") {
		return true
	}
	for i := range st.cfg.upgrades.ignore {
		if st.cfg.upgrades.ignore[i].Matches(value) {
			return true
		}
	}
	return false
}

// upgradeValue is the Upgrade field as one string: it is compared whole (UP-2).
func (st *stream) upgradeValue() []byte {
	h := &st.req
	i := h.Index(header.Upgrade)
	if i < 0 {
		return nil
	}
	value := h.Bytes(h.Fields[i].Value)
	if h.Next(i) < 0 {
		return value
	}
	joined := append([]byte(nil), value...)
	for j := h.Next(i); j >= 0; j = h.Next(j) {
		joined = append(append(joined, ','), h.Bytes(h.Fields[j].Value)...)
	}
	h.Set(header.Upgrade, joined)
	return joined
}

// beginTunnel notes what kind of tunnel a request asks for whose Transfer is Tunnel.
func (st *stream) beginTunnel() {
	st.tun.kind = upgradeTunnel
	if st.req.Method == header.MethodConnect {
		st.tun.kind = connectTunnel
		return
	}
	st.tun.webSocket = header.EqualFold(st.upgradeValue(), "websocket")
}

// upgradeType is what upgrade_configs are looked through for.
func (st *stream) isUpgradeType(name string) bool {
	if st.tun.kind == connectTunnel {
		return name == conf.UpgradeConnect
	}
	return header.EqualFold(st.req.Get(header.Upgrade), name)
}

// admitsTunnel decides whether a request that asks for a tunnel gets one: what the route says goes before
// what the manager does (upgrades.md 2), and counts those that do.
func (st *stream) admitsTunnel() bool {
	allowed := false
	for i := range st.cfg.upgrades.list {
		if u := &st.cfg.upgrades.list[i]; st.isUpgradeType(u.Type) {
			allowed = !u.Disabled
			st.tun.filters, st.tun.ownFilters = st.cfg.upgrades.chains[i], u.OwnFilters
			break
		}
	}
	if r := st.route.Route; r != nil && r.Config.Action != nil {
		for i := range r.Config.Action.Upgrades {
			if u := &r.Config.Action.Upgrades[i]; st.isUpgradeType(u.Type) {
				allowed, st.tun.connect = !u.Disabled, u.Connect
				break
			}
		}
	}
	if !allowed {
		st.tun.connect = nil
		return false
	}
	st.countTunnel()
	return true
}

func (st *stream) countTunnel() {
	st.tun.counted = true
	st.w.Stats.Inc(st.cfg.stats.DownstreamCxUpgradesTotal)
	st.w.Stats.GaugeAdd(st.cfg.stats.DownstreamCxUpgradesActive, 1)
}

// refusesTunnel answers a request for a tunnel that its route does not allow (UP-7).
func (st *stream) refusesTunnel() bool {
	if st.tun.kind == noTunnel || st.route.Kind == route.NoRoute || st.admitsTunnel() {
		return false
	}
	st.w.Stats.Inc(st.cfg.stats.DownstreamRqWsOnNonWsRoute)
	st.sendLocalReply(reason.UpgradeRefused, 0, nil)
	return true
}

// settleTunnel decides what becomes of a request for a tunnel, once its route is known; end says whether
// the request is complete, as far as is known until now.
func (st *stream) settleTunnel(end bool) (complete, refused bool) {
	switch {
	case st.tun.kind != noTunnel:
		return end, st.refusesTunnel()
	case st.cfg.upgrades.post && st.req.Method == header.MethodPost:
		return st.settlePost(end), false
	}
	return end, false
}

// mayTunnel says whether a request without a body may be a POST whose payload follows without framing.
func (st *stream) mayTunnel() bool {
	h := &st.req
	return h.Method == header.MethodPost && h.ContentLength < 0 && h.Version == header.HTTP11 && st.cfg.upgrades.post
}

// settlePost decides, once the route is known, whether a POST is a tunnel (UP-45, UP-53). One without
// framing that is none is complete.
func (st *stream) settlePost(end bool) bool {
	if st.route.Kind == route.Forward {
		list := st.route.Route.Config.Action.Upgrades
		for i := range list {
			if u := &list[i]; u.Type == conf.UpgradeConnect && !u.Disabled && u.Connect != nil && u.Connect.AllowPost {
				st.tun.kind, st.tun.connect = postTunnel, u.Connect
				st.countTunnel()
			}
		}
	}
	switch {
	case !st.tun.bare:
	case st.tun.kind == postTunnel:
		st.body.InitTunnel()
		st.req.Transfer = header.Tunnel
	default:
		st.tun.bare = false
		st.requestComplete()
		return true
	}
	return end
}

// keepPort remembers the authority of a CONNECT whose port is stripped for matching only (UP-33).
func (st *stream) keepPort() {
	if st.tun.kind == connectTunnel {
		st.tun.authority = st.req.Authority
	}
}

// strippedPort is what keepPort has kept of a CONNECT whose authority has no port any more; else nil.
func (st *stream) strippedPort() []byte {
	h := &st.req
	if st.tun.kind != connectTunnel || st.tun.authority == h.Authority {
		return nil
	}
	_, port, ok := http1.SplitPort(h.Bytes(st.tun.authority))
	if _, has, _ := http1.SplitPort(h.Bytes(h.Authority)); !ok || len(port) == 0 || len(has) > 0 {
		return nil
	}
	return port
}

// restorePort gives the authority of a CONNECT its port back unless somebody else gave it one.
func (st *stream) restorePort() {
	if st.strippedPort() != nil {
		st.req.SetAuthority(st.destination())
	}
}

package envoy

import (
	"reflect"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Upgrade types that are not what they look like.
const (
	upgradeH2C        = "h2c"         // never honoured (UP-1)
	upgradeConnectUDP = "connect-udp" // needs HTTP/3
)

// managerUpgrades compiles a manager's upgrade_configs (upgrades.md 2).
func (c *compiler) managerUpgrades(m *hcmv3.HttpConnectionManager, at place, out *conf.HTTPConnectionManager) {
	list, seen := at.field("upgrade_configs"), map[string]bool{}
	for i, u := range m.GetUpgradeConfigs() {
		here := list.index(i)
		kind := here.field("upgrade_type")
		if u.GetUpgradeType() == "" {
			c.errs.at(here, "upgrade_type is required")
			continue
		}
		one := conf.Upgrade{Type: c.upgradeType(u.GetUpgradeType(), kind, seen), Disabled: !boolean(u.GetEnabled(), true)}
		if filters := u.GetFilters(); len(filters) > 0 {
			chain := conf.HTTPConnectionManager{Router: out.Router}
			c.httpFilters(filters, here.field("filters"), &chain)
			if one.Filters, one.OwnFilters = chain.Filters, true; !reflect.DeepEqual(chain.Router, out.Router) {
				c.errs.at(here.field("filters"), "not supported: a router whose configuration is not that of http_filters")
			}
		}
		out.Upgrades = append(out.Upgrades, one)
	}
	for i, m := range m.GetHttpProtocolOptions().GetIgnoreHttp_11Upgrade() {
		match := c.stringMatcher(m, at.field("http_protocol_options").field("ignore_http_11_upgrade").index(i))
		out.HTTP1.IgnoreUpgrades = append(out.HTTP1.IgnoreUpgrades, conf.StringMatcher{Kind: match.kind, Value: match.value, IgnoreCase: match.ignoreCase})
	}
}

// upgradeType is a type in lower case, after the checks that managers and routes share.
func (c *compiler) upgradeType(name string, at place, seen map[string]bool) string {
	name = strings.ToLower(name)
	switch {
	case seen[name]:
		c.errs.at(at, "there is an entry for %s already", shorten(name)) // UP-5
	case name == upgradeH2C:
		c.warn(at, "has no effect: an upgrade to h2c is never honoured")
	case name == upgradeConnectUDP:
		c.errs.at(at, "not supported: CONNECT-UDP")
	}
	seen[name] = true
	return name
}

// routeUpgrades compiles a route's upgrade_configs.
func (c *compiler) routeUpgrades(m *routev3.RouteAction, at place) (out []conf.RouteUpgrade) {
	list, seen := at.field("upgrade_configs"), map[string]bool{}
	for i, u := range m.GetUpgradeConfigs() {
		here := list.index(i)
		one := conf.RouteUpgrade{
			Type: c.upgradeType(u.GetUpgradeType(), here.field("upgrade_type"), seen), Disabled: !boolean(u.GetEnabled(), true),
		}
		if connect := u.GetConnectConfig(); connect != nil {
			at := here.field("connect_config")
			if one.Type != conf.UpgradeConnect {
				c.errs.at(at, "is for the upgrade_type CONNECT only") // UP-5
			}
			one.Connect = &conf.ConnectConfig{AllowPost: connect.GetAllowPost()}
			if p := connect.GetProxyProtocolConfig(); p != nil {
				one.Connect.ProxyProtocol = c.proxyHeader(p, at.field("proxy_protocol_config"))
			}
		}
		out = append(out, one)
	}
	return out
}

// rejectsEarlyData says whether data before the answer to CONNECT is an error (UP-41).
func (c *compiler) rejectsEarlyData(router *routerv3.Router) bool {
	return boolean(router.GetRejectConnectRequestEarlyData(), c.runtimeFlag("envoy.reloadable_features.reject_early_connect_data", false))
}

// proxyHeader compiles what a PROXY header towards an upstream looks like.
func (c *compiler) proxyHeader(config *corev3.ProxyProtocolConfig, here place) *conf.UpstreamProxyProtocol {
	out := &conf.UpstreamProxyProtocol{
		Version2:    config.GetVersion() == corev3.ProxyProtocolConfig_V2,
		PassThrough: c.tlvMatch(config.GetPassThroughTlvs(), here.field("pass_through_tlvs")),
		Added:       c.tlvs(config.GetAddedTlvs(), here.field("added_tlvs")),
	}
	if !out.Version2 {
		for _, field := range []string{"pass_through_tlvs", "added_tlvs"} {
			if at := here.field(field); at.pos != here.pos {
				c.warn(at, "has no effect: only version V2 has TLVs")
			}
		}
	}
	return out
}

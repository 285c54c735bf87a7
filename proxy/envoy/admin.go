//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// admin compiles the admin listener. Its access log is refused unless it goes nowhere, because admin
// requests are not logged.
func (c *compiler) admin(m *bootstrapv3.Admin, at place) *conf.Admin {
	out := &conf.Admin{}
	for i, log := range m.GetAccessLog() {
		here := at.field("access_log").index(i)
		if log.GetTypedConfig() == nil {
			c.errs.at(here.field("typed_config"), "is required")
			continue
		}
		if file, ok := c.unpack(log.GetTypedConfig(), here).(*filev3.FileAccessLog); !ok || file.GetPath() != "/dev/null" {
			c.errs.at(here, "not supported: admin requests are not logged; only a file logger with path /dev/null is accepted")
		}
	}
	if path := m.GetAccessLogPath(); path != "" && path != "/dev/null" {
		c.errs.at(at.field("access_log_path"), "not supported: admin requests are not logged; only /dev/null is accepted")
	}
	for i, matcher := range m.GetAllowPaths() {
		here := at.field("allow_paths").index(i)
		switch pattern := matcher.GetMatchPattern().(type) {
		case *matcherv3.StringMatcher_Exact:
			if pattern.Exact == "" || pattern.Exact[len(pattern.Exact)-1] == '*' {
				c.errs.at(here, "not supported: an exact path that is empty or ends in '*'")
			}
			out.AllowPaths = append(out.AllowPaths, pattern.Exact)
		case *matcherv3.StringMatcher_Prefix:
			out.AllowPaths = append(out.AllowPaths, pattern.Prefix+"*")
		default:
			c.errs.at(here, "not supported: only exact and prefix matchers")
		}
		if matcher.GetIgnoreCase() {
			c.errs.at(here.field("ignore_case"), "not supported")
		}
	}
	if m.GetAddress() == nil {
		c.errs.at(at, "address is required")
		return out
	}
	out.Address = c.address(m.GetAddress(), at.field("address"), bindAddress)
	c.listen(out.Address, at.field("address"))
	return out
}

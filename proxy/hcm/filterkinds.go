package hcm

import (
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// compileFilter makes the runtime form of a filter. Errors carry the path within c.
func compileFilter(c *conf.HTTPFilter, d *filter.Deps, registered map[string]filter.Factory) (filter.Spec, error) {
	return customFilter(c.Name, d, registered)
}

package hcm

import (
	"fmt"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/filter/buffer"
	"github.com/sluiceproxy/sluice/proxy/filter/cors"
	"github.com/sluiceproxy/sluice/proxy/filter/dynamicforward"
	"github.com/sluiceproxy/sluice/proxy/filter/fault"
	"github.com/sluiceproxy/sluice/proxy/filter/headermutation"
	"github.com/sluiceproxy/sluice/proxy/filter/healthcheck"
	"github.com/sluiceproxy/sluice/proxy/filter/localratelimit"
	"github.com/sluiceproxy/sluice/proxy/filter/rbac"
)

// compileFilter makes the runtime form of a filter. Errors carry the path within c.
func compileFilter(c *conf.HTTPFilter, d *filter.Deps, registered map[string]filter.Factory) (filter.Spec, error) {
	switch f := c.Config.(type) {
	case nil:
		return customFilter(c.Name, d, registered)
	case *conf.BufferFilter:
		return buffer.New(f)
	case *conf.CORSFilter:
		return cors.New(d)
	case *conf.DynamicForwardFilter:
		return dynamicforward.New(f)
	case *conf.FaultFilter:
		return fault.New(f, d)
	case *conf.HeaderMutationFilter:
		return headermutation.New(f)
	case *conf.HealthCheckFilter:
		return healthcheck.New(f, d)
	case *conf.LocalRateLimitFilter:
		return localratelimit.New(f, d)
	case *conf.HTTPRBAC:
		return rbac.New(f, d)
	}
	return filter.Spec{}, fmt.Errorf("%T is no configuration of an HTTP filter", c.Config)
}

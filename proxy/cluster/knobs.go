package cluster

import (
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// knobs are the runtime values of one cluster; each load is one atomic read.
type knobs struct {
	biased                             *runtime.Float // least request; nil: 1
	aggression                         *runtime.Float // slow start; nil: off
	panicThreshold                     *runtime.Float
	zoneRouting                        *runtime.Float
	zoneMinSize                        *runtime.Uint
	checkMinInterval, checkMaxInterval *runtime.Uint
	verifyService                      *runtime.Uint
}

func newKnobs(l *runtime.Loader, c *conf.Cluster) knobs {
	k := knobs{
		panicThreshold: l.Float("upstream.healthy_panic_threshold", c.PanicThreshold),
	}
	if c.LB == conf.LeastRequest {
		k.biased = l.Float(c.LeastRequestBias.Key, c.LeastRequestBias.Value)
	}
	if c.SlowStart != nil {
		k.aggression = l.Float(c.SlowStart.Aggression.Key, c.SlowStart.Aggression.Value)
	}
	if z := c.ZoneAware; z != nil {
		k.zoneRouting = l.Float("upstream.zone_routing.enabled", z.RoutingEnabled)
		k.zoneMinSize = l.Uint("upstream.zone_routing.min_cluster_size", z.MinClusterSize)
	}
	if c.HealthCheck != nil {
		k.checkMinInterval = l.Uint("health_check.min_interval", 0)
		k.checkMaxInterval = l.Uint("health_check.max_interval", 1<<63)
		k.verifyService = l.Uint("health_check.verify_cluster", 100)
	}
	return k
}

func (c *Cluster) bias() float64        { return c.knobs.biased.Load() }
func (c *Cluster) zoneEnabled() float64 { return c.knobs.zoneRouting.Load() }

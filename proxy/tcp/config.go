package tcp

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/proxy/accesslog"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Config is a TCP proxy compiled for use by every loop. Immutable. A session keeps the one it began
// with.
type Config struct {
	conf     *conf.TCPProxy
	stats    *stats.TCPStats
	onDemand *stats.OnDemandStats // nil unless configured
	lookup   cluster.Provider     // nil unless configured
	logs     []*accesslog.Logger
	targets  []target   // one, or the weighted ones
	tunnel   *tunneling // nil unless configured
	tlvs     []worker.TLV
	// bufferLimit is the listener's per_connection_buffer_limit_bytes.
	bufferLimit int
}

// target is a cluster a session may go to.
type target struct {
	name     []byte
	upTo     uint64 // weights, cumulative
	criteria *cluster.Criteria
}

// Live is the place a filter chain's loops read their current Config from.
type Live = atomic.Pointer[Config]

// Deps are the process-wide parts a Config is compiled against.
type Deps struct {
	Registry *stats.Registry
	Logs     *accesslog.Manager
	// Provider returns what looks up the clusters that are not configured, by the path that on_demand
	// names; nil when there is none.
	Provider func(path string) (cluster.Provider, error)
}

// Compile makes the runtime form of a TCP proxy of listener l. Errors carry the path within the filter.
func Compile(l *conf.Listener, c *conf.TCPProxy, d *Deps) (*Config, error) {
	out := &Config{conf: c, stats: stats.NewTCPStats(d.Registry, c.StatPrefix), bufferLimit: int(l.PerConnectionBufferLimitBytes)}
	if err := out.compileTargets(c); err != nil {
		return nil, err
	}
	if c.ConnectMode == conf.ConnectOnDownstreamData && !c.EarlyData {
		return nil, errors.New("upstream_connect_mode: ON_DOWNSTREAM_DATA needs max_early_data_bytes")
	}
	if c.Tunnel != nil {
		var err error
		if out.tunnel, err = compileTunneling(c.Tunnel); err != nil {
			return nil, fmt.Errorf("tunneling_config: %w", err)
		}
	}
	if c.OnDemand != nil {
		if d.Provider == nil {
			return nil, errors.New("on_demand: nothing looks clusters up")
		}
		var err error
		if out.lookup, err = d.Provider(c.OnDemand.Path); err != nil {
			return nil, fmt.Errorf("on_demand: %w", err)
		}
		out.onDemand = stats.NewOnDemandStats(d.Registry, c.StatPrefix)
	}
	for i := range c.ProxyProtocolTLVs {
		t, err := worker.CompileTLV(&c.ProxyProtocolTLVs[i])
		if err != nil {
			return nil, fmt.Errorf("proxy_protocol_tlvs[%d]: %w", i, err)
		}
		out.tlvs = append(out.tlvs, t)
	}
	for i, lc := range c.AccessLogs {
		logger, err := d.Logs.Compile(lc)
		if err != nil {
			out.Close()
			return nil, fmt.Errorf("access_log[%d]: %w", i, err)
		}
		out.logs = append(out.logs, logger)
	}
	return out, nil
}

func (c *Config) compileTargets(in *conf.TCPProxy) error {
	all := in.Weighted
	switch {
	case len(all) > 0 && in.Cluster != "":
		return errors.New("cluster: excludes weighted_clusters")
	case len(all) == 0:
		all = []conf.WeightedCluster{{Name: in.Cluster, Weight: 1}}
	}
	upTo := uint64(0)
	for i := range all {
		w := &all[i]
		if w.Name == "" && len(in.Weighted) > 0 {
			return fmt.Errorf("weighted_clusters.clusters[%d].name: is required", i)
		}
		if w.Weight == 0 {
			return fmt.Errorf("weighted_clusters.clusters[%d].weight: must be 1 or more", i)
		}
		upTo += uint64(w.Weight)
		t := target{name: []byte(w.Name), upTo: upTo, criteria: cluster.NewCriteria(in.MetadataMatch)}
		if over := cluster.NewCriteria(w.MetadataMatch); over != nil { // its keys win (TCP-20)
			if t.criteria == nil {
				t.criteria = new(cluster.Criteria)
			}
			t.criteria.Merge(over)
		}
		c.targets = append(c.targets, t)
	}
	return nil
}

// Close gives back what Compile took: log files. Nothing may use the Config any more.
func (c *Config) Close() {
	for _, l := range c.logs {
		l.Close()
	}
}

// Clusters returns the names the filter refers to.
func (c *Config) Clusters() []string {
	var out []string
	for i := range c.targets {
		out = append(out, string(c.targets[i].name))
	}
	return out
}

package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/accesslog"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/explain"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/hcm"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Explain says where the running server would send a request, and why, without sending or counting one:
// the tables, host health and runtime values are those in force. It asks the first loop.
func (s *Server) Explain(q *explain.Question) (*explain.Answer, error) {
	b, _ := s.Config()
	return explain.Ask(b, q, func(l *conf.Listener, c *conf.FilterChain, head []byte, conn *streaminfo.Connection, random uint64) (*hcm.Explanation, error) {
		cfg := s.manages(l, c)
		if cfg == nil {
			return nil, errors.New("the configuration is being replaced; ask again")
		}
		var out *hcm.Explanation
		var err error
		w := s.workers[0]
		if !s.onLoop(w, func() { out, err = cfg.Explain(w.Shadow(), head, conn, random) }) {
			return nil, fmt.Errorf("the loop did not answer within %s", visitWait)
		}
		return out, err
	})
}

// manages returns the connection manager in force of a filter chain.
func (s *Server) manages(l *conf.Listener, c *conf.FilterChain) *hcm.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, active := range s.listeners {
		if chain := active.chains[chainKey(c)]; active.conf == l && chain != nil && chain.http != nil {
			return chain.http.Load()
		}
	}
	return nil
}

// ExplainOptions are for Explain of a configuration that does not run.
type ExplainOptions struct {
	// ResolveTime bounds how long to wait for names of hosts to be resolved; 0 means not at all.
	ResolveTime time.Duration
	// HTTPFilters are the embedder's own, as in Options.
	HTTPFilters map[string]filter.Factory
}

// Explain says where a server of configuration b would send a request, and why. It opens no listening
// socket and no log, and connects to no host.
func Explain(b *conf.Bootstrap, q *explain.Question, o ExplainOptions) (*explain.Answer, error) {
	registry, log := stats.NewRegistry(), slog.New(slog.DiscardHandler)
	group, err := engine.New(engine.Options{Loops: 1, Logger: log})
	if err != nil {
		return nil, err
	}
	defer group.Stop(context.Background())
	values := runtime.New(registry, log)
	defer values.Close()
	values.Apply(b.RuntimeLayers, b.Node.Cluster)
	logs := accesslog.NewManager(time.Hour, log)
	defer logs.Close()
	contexts := secure.New(secure.Options{Registry: registry, Log: log})
	defer contexts.Close()
	clusters := cluster.NewManager(cluster.Options{Stats: registry, Logger: log, Secure: contexts, Runtime: values})
	defer clusters.Close()
	if err := clusters.Apply(unchecked(b.Clusters)); err != nil {
		return nil, err
	}
	if o.ResolveTime > 0 {
		select {
		case <-clusters.Ready():
		case <-time.After(o.ResolveTime):
		}
	}
	w := worker.New(group.Loops()[0], registry.NewShard(), logs.NewShard(), clusters)
	return explain.Ask(b, q, func(l *conf.Listener, c *conf.FilterChain, head []byte, conn *streaminfo.Connection, random uint64) (*hcm.Explanation, error) {
		silent := *c.HTTP
		silent.AccessLogs, silent.Router.UpstreamLogs = nil, nil
		cfg, err := hcm.Compile(l, &silent, statName(l), &hcm.Deps{Registry: registry, Logs: logs, Node: b.Node, Runtime: values, Filters: o.HTTPFilters})
		if err != nil {
			return nil, err
		}
		defer cfg.Close()
		return cfg.Explain(w, head, conn, random)
	})
}

// unchecked returns the clusters without active health checks: an explanation connects to nobody, and takes
// hosts for as healthy as their configuration says.
func unchecked(list []*conf.Cluster) []*conf.Cluster {
	out := make([]*conf.Cluster, len(list))
	for i, c := range list {
		if c.HealthCheck != nil {
			quiet := *c
			quiet.HealthCheck = nil
			c = &quiet
		}
		out[i] = c
	}
	return out
}

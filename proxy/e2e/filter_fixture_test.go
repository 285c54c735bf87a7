package e2e

import (
	"path/filepath"
	"testing"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// serveFilters starts a topology's proxy with Go filters in front of the router, which change may put
// configurations for into the routes.
func serveFilters(t testing.TB, top harness.Topology, change func(m *conf.HTTPConnectionManager), filters ...goFilter) *harness.Proxy {
	t.Helper()
	log := filepath.Join(t.TempDir(), "access.log")
	c := harness.Load(t, top.YAML(log))
	m := c.Listeners[0].FilterChains[0].HTTP
	m.CodecType = conf.CodecAuto
	registered := make(map[string]filter.Factory)
	for _, f := range filters {
		m.Filters = append(m.Filters, &conf.HTTPFilter{Name: f.name, Disabled: f.disabled})
		registered[f.name] = func(string, *filter.Deps) (filter.Spec, error) { return f.spec, nil }
	}
	if change != nil {
		change(m)
	}
	var origins []harness.Origin
	for _, k := range top.Clusters {
		origins = append(origins, k.Origins...)
	}
	return harness.StartOptions(t, proxy.Options{Config: c, Concurrency: max(1, top.Loops), HTTPFilters: registered}, log, origins...)
}

type goFilter struct {
	name     string
	disabled bool
	spec     filter.Spec
}

// scripted is a filter whose events are functions; nil ones let the event pass.
type scripted struct {
	filter.PassThrough
	requestHead, responseHead  func(s filter.Stream, end bool) filter.Status
	requestData, responseData  func(s filter.Stream, p []byte, end bool) filter.Status
	requestTrail, responsTrail func(s filter.Stream) filter.Status
	done                       func(s filter.Stream)
}

func (f *scripted) spec() filter.Spec {
	return filter.Spec{Sees: filter.Everything, New: func() filter.Filter { return f }, CompileRoute: func(c any) (any, error) { return c, nil }}
}

func (f *scripted) RequestHead(s filter.Stream, end bool) filter.Status {
	if f.requestHead == nil {
		return filter.Continue
	}
	return f.requestHead(s, end)
}

func (f *scripted) RequestData(s filter.Stream, p []byte, end bool) filter.Status {
	if f.requestData == nil {
		return filter.Continue
	}
	return f.requestData(s, p, end)
}

func (f *scripted) RequestTrailers(s filter.Stream) filter.Status {
	if f.requestTrail == nil {
		return filter.Continue
	}
	return f.requestTrail(s)
}

func (f *scripted) ResponseHead(s filter.Stream, end bool) filter.Status {
	if f.responseHead == nil {
		return filter.Continue
	}
	return f.responseHead(s, end)
}

func (f *scripted) ResponseData(s filter.Stream, p []byte, end bool) filter.Status {
	if f.responseData == nil {
		return filter.Continue
	}
	return f.responseData(s, p, end)
}

func (f *scripted) ResponseTrailers(s filter.Stream) filter.Status {
	if f.responsTrail == nil {
		return filter.Continue
	}
	return f.responsTrail(s)
}

func (f *scripted) Done(s filter.Stream) {
	if f.done != nil {
		f.done(s)
	}
}

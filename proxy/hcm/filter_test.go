package hcm

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Bodies go by splice unless a filter of the stream sees them, or something of them waits.
func TestBulkLaneStaysOpenForFiltersOfHeads(t *testing.T) {
	st := new(stream)
	if !st.bulkRequest() || !st.bulkResponse() {
		t.Error("without filters the engine may carry bodies")
	}
	st.filters = &filterRun{sees: filter.RequestHead | filter.ResponseHead}
	if !st.bulkRequest() || !st.bulkResponse() {
		t.Error("a filter of heads is in the way")
	}
	st.filters.sees |= filter.RequestBody
	if st.bulkRequest() || !st.bulkResponse() {
		t.Error("a filter of request bodies must see them, and them only")
	}
	st.filters.sees = filter.RequestHead
	st.filters.numStopped[filter.Response] = 1
	if st.bulkResponse() {
		t.Error("a response that waits would be overtaken")
	}
}

func TestFilterChainsAreRefusedWithTheirPlace(t *testing.T) {
	good := filter.Spec{New: func() filter.Filter { return filter.PassThrough{} }}
	d := &Deps{Registry: stats.NewRegistry(), Filters: map[string]filter.Factory{
		"good":  func(string, *filter.Deps) (filter.Spec, error) { return good, nil },
		"bad":   func(string, *filter.Deps) (filter.Spec, error) { return good, errors.New("no") },
		"empty": func(string, *filter.Deps) (filter.Spec, error) { return filter.Spec{}, nil },
	}}
	host := func(name string, c *conf.FilterConfig) []*conf.RouteConfiguration {
		return []*conf.RouteConfiguration{{VirtualHosts: []*conf.VirtualHost{{
			Routes: []*conf.Route{{Filters: conf.FilterConfigs{name: c}}},
		}}}}
	}
	for _, row := range []struct {
		title   string
		filters []*conf.HTTPFilter
		tables  []*conf.RouteConfiguration
		want    string
	}{
		{"nobody's filter", []*conf.HTTPFilter{{Name: "none"}}, nil, `http_filters[0]: no HTTP filter "none" is registered; there are: bad, empty, good`},
		{"a factory that fails", []*conf.HTTPFilter{{Name: "good"}, {Name: "bad"}}, nil, "http_filters[1]: bad: no"},
		{"a factory without a filter", []*conf.HTTPFilter{{Name: "empty"}}, nil, "http_filters[0]: empty: the factory returned no filter"},
		{"a configuration of something else", []*conf.HTTPFilter{{Name: "x", Config: 5}}, nil, "http_filters[0]: int is no configuration of an HTTP filter"},
		{"a bucket that is never filled", []*conf.HTTPFilter{{Name: "x", Config: &conf.LocalRateLimitFilter{Bucket: &conf.TokenBucket{MaxTokens: 1}}}}, nil, "http_filters[0]: token_bucket.tokens_per_fill: must be at least 1"},
		{"no limit", []*conf.HTTPFilter{{Name: "x", Config: &conf.BufferFilter{}}}, nil, "http_filters[0]: max_request_bytes: must be greater than 0"},
		{"a route for nobody", []*conf.HTTPFilter{{Name: "good"}}, host("other", &conf.FilterConfig{}), `route_config.virtual_hosts[0].routes[0].typed_per_filter_config: there is no filter "other" in http_filters`},
		{"a route for nobody, optional", []*conf.HTTPFilter{{Name: "good"}}, host("other", &conf.FilterConfig{Optional: true}), ""},
		{"a filter without routes", []*conf.HTTPFilter{{Name: "good"}}, host("good", &conf.FilterConfig{Config: 1}), "route_config.virtual_hosts[0].routes[0].typed_per_filter_config[good]: the filter has no configuration for routes"},
		{"a filter taken out", []*conf.HTTPFilter{{Name: "good"}}, host("good", &conf.FilterConfig{Disabled: true}), ""},
	} {
		t.Run(row.title, func(t *testing.T) {
			_, err := compileFilters(row.filters, row.tables, d, "p", false)
			switch {
			case row.want == "" && err != nil:
				t.Error(err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("%v, want %s", err, row.want)
			}
		})
	}
}

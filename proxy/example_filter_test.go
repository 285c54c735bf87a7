package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// needKey is an HTTP filter: it answers requests without a key with 401, and says how long answers are.
type needKey struct {
	filter.PassThrough
	bytes int
}

func (f *needKey) RequestHead(s filter.Stream, _ bool) filter.Status {
	if h := s.Request(); h.Find(header.Unknown, "x-key") < 0 {
		s.Reply(filter.Reply{Status: 401, Details: "no_key", Body: []byte("a key, please\n")})
	}
	return filter.Continue
}

func (f *needKey) ResponseHead(_ filter.Stream, end bool) filter.Status {
	if end {
		return filter.Continue
	}
	return filter.Buffer // until the body is there
}

func (f *needKey) ResponseData(s filter.Stream, p []byte, end bool) filter.Status {
	if f.bytes += len(p); !end {
		return filter.Buffer
	}
	s.Response().Add(header.Unknown, "x-bytes", strconv.AppendInt(nil, int64(f.bytes), 10))
	return filter.Continue
}

func (f *needKey) Done(filter.Stream) { f.bytes = 0 } // for the next stream

func newNeedKey(string, *filter.Deps) (filter.Spec, error) {
	return filter.Spec{Sees: filter.RequestHead | filter.ResponseHead | filter.ResponseBody, New: func() filter.Filter { return new(needKey) }}, nil
}

// A filter of one's own, which sees requests and responses on their way.
func Example_httpFilter() {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	defer origin.Close()

	hcm := conf.NewHTTPConnectionManager("ingress")
	hcm.Filters = []*conf.HTTPFilter{{Name: "need-key"}}
	hcm.Routes = &conf.RouteConfiguration{VirtualHosts: []*conf.VirtualHost{{
		Name: "all", Domains: []string{"*"},
		Routes: []*conf.Route{{Match: conf.RouteMatch{Path: "/"}, Action: conf.NewRouteAction("origin")}},
	}}}
	server, err := proxy.New(proxy.Options{
		HTTPFilters: map[string]filter.Factory{"need-key": newNeedKey},
		Config: &conf.Bootstrap{
			Listeners: []*conf.Listener{conf.NewListener("in", netip.MustParseAddrPort("127.0.0.1:0"), &conf.FilterChain{HTTP: hcm})},
			Clusters:  []*conf.Cluster{conf.NewCluster("origin", netip.MustParseAddrPort(origin.Listener.Addr().String()))},
		},
	})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	if err := server.Start(context.Background()); err != nil {
		panic(err)
	}
	for _, key := range []string{"", "secret"} {
		req, _ := http.NewRequest("GET", fmt.Sprintf("http://%s/", server.Listeners()[0].Addresses[0]), nil)
		if key != "" {
			req.Header.Set("X-Key", key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Print(resp.StatusCode, " ", resp.Header.Get("X-Bytes"), " ", string(body))
	}
	// Output:
	// 401 14 a key, please
	// 200 6 hello
}

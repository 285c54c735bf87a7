package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// A proxy in front of one origin, without a configuration file.
func Example() {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s", r.URL.Path)
	}))
	defer origin.Close()

	hcm := conf.NewHTTPConnectionManager("ingress")
	hcm.Routes = &conf.RouteConfiguration{VirtualHosts: []*conf.VirtualHost{{
		Name: "all", Domains: []string{"*"},
		Routes: []*conf.Route{{Match: conf.RouteMatch{Path: "/"}, Action: conf.NewRouteAction("origin")}},
	}}}
	server, err := proxy.New(proxy.Options{Config: &conf.Bootstrap{
		Listeners: []*conf.Listener{conf.NewListener("in", netip.MustParseAddrPort("127.0.0.1:0"), &conf.FilterChain{HTTP: hcm})},
		Clusters:  []*conf.Cluster{conf.NewCluster("origin", netip.MustParseAddrPort(origin.Listener.Addr().String()))},
	}})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	if err := server.Start(context.Background()); err != nil {
		panic(err)
	}
	resp, err := http.Get(fmt.Sprintf("http://%s/world", server.Listeners()[0].Addresses[0]))
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body))
	// Output: 200 hello, /world
}

package network_test

import (
	"fmt"
	"net/netip"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// byAddress chooses the cluster of a TCP proxy by the client's address. It is immutable, as all loops
// share it, and it answers without allocating.
type byAddress struct {
	office            netip.Prefix
	inside, elsewhere []byte
}

// OnNewConnection implements network.Filter.
func (f *byAddress) OnNewConnection(c *network.Connection) network.Verdict {
	cluster := f.elsewhere
	if f.office.Contains(c.Facts.Remote.Addr()) {
		cluster = f.inside
	}
	c.Extra().State.Set(streaminfo.KeyTCPCluster, cluster, false)
	return network.Verdict{}
}

// A filter of the embedding program chooses the cluster by the client's address. In a program the map
// is proxy.Options.NetworkFilters, and the filter is named in a filter chain, before its tcp_proxy.
func Example() {
	filters := map[string]network.Factory{
		"acme.by_address": func(string) (network.Filter, error) {
			return &byAddress{netip.MustParsePrefix("10.1.0.0/16"), []byte("intranet"), []byte("public")}, nil
		},
	}
	chain := conf.FilterChain{
		Filters: []conf.NetworkFilter{{Name: "acme.by_address"}},
		TCP:     conf.NewTCPProxy("edge", "unused"),
	}

	f, err := network.Compile(&chain.Filters[0], network.Deps{Custom: filters})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &network.Connection{Worker: new(worker.Worker)} // each loop has one
	for _, client := range []string{"10.1.2.3:40000", "192.0.2.7:40000"} {
		c.Facts = &streaminfo.Connection{Remote: netip.MustParseAddrPort(client)}
		f.OnNewConnection(c)
		cluster, _ := c.Facts.FilterState(streaminfo.KeyTCPCluster)
		fmt.Println(client, "->", string(cluster))
	}
	// Output:
	// 10.1.2.3:40000 -> intranet
	// 192.0.2.7:40000 -> public
}

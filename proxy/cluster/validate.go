package cluster

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// maxPriority is the highest LocalityLbEndpoints.priority.
const maxPriority = 128

// Validate says what is wrong with clusters, the path of the field first; nil
// when Manager.Apply would take them.
func Validate(clusters []*conf.Cluster) error {
	names := make(map[string]bool, len(clusters))
	for i, c := range clusters {
		err := validate(c)
		if err == nil && names[c.Name] {
			err = errors.New("name: there is another cluster with this name")
		}
		if err != nil {
			return fmt.Errorf("clusters[%d] %q: %w", i, c.Name, err)
		}
		names[c.Name] = true
	}
	return nil
}

func validate(c *conf.Cluster) error {
	switch {
	case c.Name == "":
		return errors.New("name: must not be empty")
	case c.ConnectTimeout <= 0:
		return errors.New("connect_timeout: must be greater than 0")
	case c.Type == conf.ClusterLogicalDNS && len(c.Endpoints) != 1:
		return fmt.Errorf("load_assignment: LOGICAL_DNS needs exactly one endpoint, not %d", len(c.Endpoints))
	case c.Type != conf.ClusterStatic && c.DNSRefreshRate <= time.Millisecond:
		return errors.New("dns_refresh_rate: must be greater than 1ms")
	}
	used, highest := make(map[uint32]bool), uint32(0)
	for i, e := range c.Endpoints {
		if err := validateAddress(c.Type, e.Address); err != nil {
			return fmt.Errorf("load_assignment.endpoints[%d].address: %w", i, err)
		}
		used[e.Priority] = true
		highest = max(highest, e.Priority)
	}
	if highest > maxPriority {
		return fmt.Errorf("load_assignment: priority %d is over %d", highest, maxPriority)
	}
	if len(used) > 0 && len(used) != int(highest)+1 {
		return errors.New("load_assignment: priorities must be 0 and on, without a gap")
	}
	return nil
}

func validateAddress(t conf.ClusterType, a conf.Address) error {
	switch {
	case a.Host != "" && t == conf.ClusterStatic:
		return fmt.Errorf("%q is a name; STATIC needs an IP address (STRICT_DNS and LOGICAL_DNS resolve names)", a.Host)
	case a.Host != "":
		if _, err := dnsmessage.NewName(a.Host); err != nil || a.Port == 0 {
			return fmt.Errorf("%q is no host name with a port", a.String())
		}
	case a.Pipe != "" && t != conf.ClusterStatic:
		return errors.New("a pipe needs a STATIC cluster")
	case a.Pipe == "" && (!a.IP.IsValid() || a.IP.Port() == 0):
		return errors.New("neither an IP address with a port nor a pipe")
	}
	return nil
}

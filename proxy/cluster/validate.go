package cluster

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/retry"
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
	if err := validatePolicy(c); err != nil {
		return err
	}
	if c.Retry != nil {
		if _, err := retry.Compile(c.Retry); err != nil {
			return fmt.Errorf("retry_policy.%w", err)
		}
	}
	if err := validateHealth(c); err != nil {
		return err
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

// validateHealth says what is wrong with health checks and with a cluster that provides its own balancer.
func validateHealth(c *conf.Cluster) error {
	original, dynamic := c.Type == conf.ClusterOriginalDst, c.Type == conf.ClusterDynamicForward
	switch {
	case (original || dynamic) != (c.LB == conf.ClusterProvided):
		return errors.New("lb_policy: CLUSTER_PROVIDED is for ORIGINAL_DST clusters and dynamic forward proxies, which need it")
	case original != (c.OriginalDst != nil) || dynamic != (c.DNSCache != nil):
		return errors.New("type: ORIGINAL_DST clusters and dynamic forward proxies have options of their own, which others have not")
	case (original || dynamic) && (len(c.Endpoints) > 0 || c.HealthCheck != nil || c.Subsets != nil):
		return errors.New("type: ORIGINAL_DST clusters and dynamic forward proxies have no endpoints, health checks or subsets")
	case dynamic:
		return validateCache(c.DNSCache)
	case c.LocalityWeighted && c.ZoneAware != nil:
		return errors.New("common_lb_config: locality weighted and zone aware exclude each other")
	}
	h := c.HealthCheck
	if h == nil {
		return nil
	}
	kinds := 0
	for _, there := range []bool{h.HTTP != nil, h.TCP != nil, h.GRPC != nil} {
		if there {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return errors.New("health_checks[0]: needs one of HTTP, TCP and gRPC")
	case h.Timeout <= 0 || h.Interval <= 0:
		return errors.New("health_checks[0]: timeout and interval must be greater than 0")
	case h.HealthyThreshold == 0 || h.UnhealthyThreshold == 0:
		return errors.New("health_checks[0]: thresholds must be greater than 0")
	}
	for i, e := range c.Endpoints {
		if e.Address.Internal != "" && e.HealthCheck.Address == (conf.Address{}) || e.HealthCheck.Address.Internal != "" {
			return fmt.Errorf("load_assignment.endpoints[%d]: an internal listener cannot be checked", i)
		}
	}
	if h.HTTP != nil && h.HTTP.ServiceName != nil {
		if _, err := match.CompileText(*h.HTTP.ServiceName); err != nil {
			return fmt.Errorf("health_checks[0].http_health_check.service_name_matcher: %w", err)
		}
	}
	return nil
}

// validateCache says what is wrong with a DNS cache.
func validateCache(c *conf.DNSCache) error {
	switch {
	case c.Name == "":
		return errors.New("dns_cache_config.name: must not be empty")
	case c.DNSRefreshRate < time.Millisecond || c.HostTTL <= 0:
		return errors.New("dns_cache_config: dns_refresh_rate and host_ttl must be greater than 0")
	case c.MaxHosts == 0:
		return errors.New("dns_cache_config.max_hosts: must be greater than 0")
	}
	for i, n := range c.Preresolve {
		if _, ok := AppendName(nil, []byte(n.Host), n.Port); !ok {
			return fmt.Errorf("dns_cache_config.preresolve_hostnames[%d]: %q with the port %d is no host", i, n.Host, n.Port)
		}
	}
	return nil
}

// Bounds of what tables may hold: Envoy's own.
const (
	maxRingSize   = 8 << 20
	maxMaglevSize = 5000011
	// maxCombinations is how many subsets one endpoint can be in for one selector:
	// with list_as_any the lengths of lists multiply.
	maxCombinations = 1024
)

func validatePolicy(c *conf.Cluster) error {
	switch r := c.RingHash; {
	case c.HashBalanceFactor > 0 && c.HashBalanceFactor < 100:
		return fmt.Errorf("hash_balance_factor: %d is under 100", c.HashBalanceFactor)
	case c.LB == conf.RingHash && (r.MaximumSize == 0 || r.MaximumSize > maxRingSize):
		return fmt.Errorf("maximum_ring_size: must be 1 to %d, not %d", maxRingSize, r.MaximumSize)
	case c.LB == conf.RingHash && (r.MinimumSize == 0 || r.MinimumSize > r.MaximumSize):
		return fmt.Errorf("minimum_ring_size: must be 1 to maximum_ring_size %d, not %d", r.MaximumSize, r.MinimumSize)
	case c.LB == conf.Maglev && (c.MaglevTableSize > maxMaglevSize || !prime(c.MaglevTableSize)):
		return fmt.Errorf("maglev table_size: must be a prime up to %d, not %d", maxMaglevSize, c.MaglevTableSize)
	case !hasSubsets(c):
		return nil
	}
	for i := range c.Subsets.Selectors {
		if err := validateSelector(c, &c.Subsets.Selectors[i]); err != nil {
			return fmt.Errorf("lb_subset_config.subset_selectors[%d]: %w", i, err)
		}
	}
	return nil
}

func validateSelector(c *conf.Cluster, s *conf.SubsetSelector) error {
	switch {
	case len(s.Keys) == 0:
		return errors.New("keys: must not be empty")
	case !sortedSet(s.Keys):
		return errors.New("keys: not sorted and distinct")
	case s.SingleHost && len(s.Keys) != 1:
		return errors.New("single_host_per_subset: needs exactly one key")
	}
	if s.Fallback == conf.SubsetKeys {
		if len(s.FallbackKeys) == 0 || len(s.FallbackKeys) >= len(s.Keys) {
			return errors.New("fallback_keys_subset: must be some of keys, and not all")
		}
		for _, k := range s.FallbackKeys {
			if !slices.Contains(s.Keys, k) {
				return fmt.Errorf("fallback_keys_subset: %q is not in keys", k)
			}
		}
	}
	for i, e := range c.Endpoints {
		n := 1
		for _, k := range s.Keys {
			if v, ok := e.Metadata[k]; ok && c.Subsets.ListAsAny {
				n *= max(1, len(elements(v)))
			}
			if n > maxCombinations {
				return fmt.Errorf("keys: the lists of endpoint %d make more than %d subsets", i, maxCombinations)
			}
		}
	}
	return nil
}

func sortedSet(keys []string) bool {
	for i := 1; i < len(keys); i++ {
		if keys[i-1] >= keys[i] {
			return false
		}
	}
	return true
}

func prime(n uint64) bool {
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

func validateAddress(t conf.ClusterType, a conf.Address) error {
	switch {
	case a.Host != "" && t == conf.ClusterStatic:
		return fmt.Errorf("%q is a name; STATIC needs an IP address (STRICT_DNS and LOGICAL_DNS resolve names)", a.Host)
	case a.Host != "":
		if _, err := dnsmessage.NewName(a.Host); err != nil || a.Port == 0 {
			return fmt.Errorf("%q is no host name with a port", a.String())
		}
	case a.Local() != "" && t != conf.ClusterStatic:
		return errors.New("a pipe or internal listener needs a STATIC cluster")
	case a.Local() == "" && (!a.IP.IsValid() || a.IP.Port() == 0):
		return errors.New("neither an IP address with a port nor a pipe")
	}
	return nil
}

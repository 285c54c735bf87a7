package cluster

import "github.com/sluiceproxy/sluice/proxy/conf"

// table finds a host by a hash. Made where the hosts change, never on a loop;
// immutable and shared by all loops.
type table interface {
	// pick returns an index of the hosts the table was made of; for a request that refused what it was
	// given again times, one that follows. No allocation.
	pick(key uint64, again int) int
}

// hashes says whether a policy looks hosts up in tables.
func hashes(lb conf.LBPolicy) bool { return lb == conf.RingHash || lb == conf.Maglev }

// newTable makes the table of a cluster's policy for hosts, of which there is one
// at least; nil when the policy needs none.
func newTable(c *conf.Cluster, hosts []*Host, weights []float64) table {
	switch c.LB {
	case conf.RingHash:
		return newRing(c, hosts, weights)
	case conf.Maglev:
		return newMaglev(c, hosts, weights)
	}
	return nil
}

func totalWeight(hosts []*Host) (sum uint64) {
	for _, h := range hosts {
		sum += uint64(h.Weight)
	}
	return sum
}

// bounded returns host i, the one a table gave for key, or when that has its
// share of the active requests already, another that has not
// (hash_balance_factor). A share is the host's part by weight of percent % of this
// loop's active requests, the new one included; rounded up, so that some host
// always has room. The others are tried in an order of the key's own, so that one
// host's surplus does not all go to the same neighbour. O(hosts) when the host is busy; no allocation.
func (g *group) bounded(key uint64, i int, percent uint64) *Host {
	if g.loads[i].RqActive == 0 {
		return g.hosts[i] // there is room for one everywhere
	}
	active := uint64(1)
	for _, l := range g.loads {
		active += l.RqActive
	}
	room := float64((active*percent + 99) / 100)
	if g.hasRoom(i, room) {
		return g.hosts[i]
	}
	n, random := len(g.hosts), mix(key)
	other, step := draw(random, n), stepOf(random, n)
	for range n {
		if g.hasRoom(other, room) {
			break
		}
		other = (other + step) % n
	}
	return g.hosts[other]
}

// hasRoom says whether host i has less than its part of room.
func (g *group) hasRoom(i int, room float64) bool {
	return float64(g.loads[i].RqActive)*g.weight < room*float64(g.hosts[i].Weight)
}

// stepOf returns a step from 1 to n-1 that visits all of n places.
func stepOf(key uint64, n int) int {
	step := 1 + draw(mix(key), n-1)
	for gcd(step, n) != 1 {
		step = step%(n-1) + 1
	}
	return step
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

package cluster

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// ring is a Ketama ring as Envoy builds it (RING_HASH): every host has points at
// the hashes of key_0, key_1 and so on, as many as its weight says; a request goes
// to the first point at or after its hash.
type ring struct {
	points []point // by hash; none when there is only one host
	// size is the number of points; least and most what a single host has.
	size, least, most uint64
}

type point struct {
	hash uint64
	host uint32
}

// newRing makes the ring: as small as it can be with minimum_ring_size points and
// a whole number for the lightest host, but no larger than maximum_ring_size. Then
// numbers of points are not whole, and running sums say when the next host begins,
// which depends on the order of the hosts.
func newRing(c *conf.Cluster, hosts []*Host, weights []float64) *ring {
	lightest := 1.0
	for _, w := range weights {
		if w > 0 {
			lightest = min(lightest, w)
		}
	}
	scale := min(math.Ceil(lightest*float64(c.RingHash.MinimumSize))/lightest, float64(c.RingHash.MaximumSize))
	r := &ring{size: uint64(math.Ceil(scale))}
	if len(hosts) == 1 {
		r.least, r.most = r.size, r.size
		return r
	}
	hash := hashFunction(c.RingHash.Function)
	r.points, r.least = make([]point, 0, r.size), r.size
	made, wanted := 0.0, 0.0
	var text []byte
	for i, h := range hosts {
		text = append(append(text[:0], hashKey(h, c.HashByHostname)...), '_')
		prefix, n := len(text), uint64(0)
		wanted += scale * weights[i]
		for ; made < wanted; made++ {
			text = strconv.AppendUint(text[:prefix], n, 10)
			r.points = append(r.points, point{hash(text), uint32(i)})
			n++
		}
		r.least, r.most = min(r.least, n), max(r.most, n)
	}
	slices.SortFunc(r.points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.host, b.host))
	})
	return r
}

func (r *ring) pick(key uint64, again int) int {
	if len(r.points) == 0 {
		return 0
	}
	from, to := 0, len(r.points)
	for from < to {
		middle := int(uint(from+to) >> 1)
		if r.points[middle].hash < key {
			from = middle + 1
		} else {
			to = middle
		}
	}
	if from == len(r.points) {
		from = 0
	}
	if again > 0 {
		from = (from + again) % len(r.points)
	}
	return int(r.points[from].host)
}

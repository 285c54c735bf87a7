package cluster

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// maglev is a Maglev table as Envoy builds it ("Maglev: A Fast and Reliable
// Software Network Load Balancer", listing 1): a prime number of slots, each
// host's; a request goes to the slot of its hash modulo their number. Two bytes a
// slot as long as hosts can be counted with them.
type maglev struct {
	size        uint64
	narrow      []uint16 // one of both; none when there is only one host
	wide        []uint32
	least, most uint64 // slots that a single host has
}

// claim is a host that takes slots in the order of its own permutation.
type claim struct {
	host               uint32
	key                string
	offset, skip, next uint64
	weight, due        float64
	slots              uint64
}

func newMaglev(c *conf.Cluster, hosts []*Host, weights []float64) *maglev {
	m := &maglev{size: c.MaglevTableSize}
	if len(hosts) == 1 {
		m.least, m.most = 1, 1
		return m
	}
	slots := make([]uint32, m.size) // host + 1, 0 is free
	claims := newClaims(c, hosts, weights)
	fill(slots, claims)
	m.least = m.size
	for i := range claims {
		m.least, m.most = min(m.least, claims[i].slots), max(m.most, claims[i].slots)
	}
	if len(hosts) > 1<<16 {
		for i := range slots {
			slots[i]--
		}
		m.wide = slots
		return m
	}
	m.narrow = make([]uint16, m.size)
	for i, s := range slots {
		m.narrow[i] = uint16(s - 1)
	}
	return m
}

// newClaims sorts by key: then the order of the hosts does not move anyone.
func newClaims(c *conf.Cluster, hosts []*Host, weights []float64) []claim {
	claims := make([]claim, len(hosts))
	second := xxhash.NewWithSeed(1)
	for i, h := range hosts {
		key := hashKey(h, c.HashByHostname)
		second.ResetWithSeed(1)
		_, _ = second.WriteString(key)
		claims[i] = claim{
			host: uint32(i), key: key, weight: weights[i],
			offset: xxhash.Sum64String(key) % c.MaglevTableSize,
			skip:   second.Sum64()%(c.MaglevTableSize-1) + 1,
		}
	}
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Compare(a.key, b.key) })
	return claims
}

// fill lets hosts take a slot each, round by round; the heaviest take part in each
// round, the others in as many as their weight is part of that.
func fill(slots []uint32, claims []claim) {
	size, heaviest := uint64(len(slots)), 0.0
	for i := range claims {
		heaviest = max(heaviest, claims[i].weight)
	}
	taken := uint64(0)
	for round := 1.0; taken < size; round++ {
		for i := range claims {
			c := &claims[i]
			if taken == size {
				return
			}
			if round*c.weight < c.due {
				continue
			}
			c.due += heaviest
			at := (c.offset + c.skip*c.next) % size
			for slots[at] != 0 {
				c.next++
				at = (c.offset + c.skip*c.next) % size
			}
			slots[at] = c.host + 1
			c.next++
			c.slots++
			taken++
		}
	}
}

func (m *maglev) pick(key uint64, again int) int {
	if again > 0 {
		key ^= -uint64(again)
	}
	switch {
	case m.narrow != nil:
		return int(m.narrow[key%m.size])
	case m.wide != nil:
		return int(m.wide[key%m.size])
	}
	return 0
}

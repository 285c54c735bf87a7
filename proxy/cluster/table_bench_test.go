package cluster

import (
	"fmt"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// What a change of hosts costs the goroutine that makes the tables.
func BenchmarkHostSet(b *testing.B) {
	for _, hosts := range []int{10, 1000} {
		for name, lb := range map[string]conf.LBPolicy{"round robin": conf.RoundRobin, "ring": conf.RingHash, "maglev": conf.Maglev} {
			c, _ := hashed(lb, 1000, ones(hosts), nil)
			b.Run(fmt.Sprint(name, " ", hosts), func(b *testing.B) {
				for b.Loop() {
					newHostSet(planOf(c.Conf), c.Hosts().Hosts, nil)
				}
			})
			b.Run(fmt.Sprint(name, " ", hosts, " taken over by a loop"), func(b *testing.B) {
				balancer := NewBalancer(c, 1)
				for b.Loop() {
					balancer.adopt(c.Hosts())
					balancer.Pick(1) // what is made on first use
				}
			})
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for name, lb := range map[string]conf.LBPolicy{"round robin": conf.RoundRobin, "ring": conf.RingHash, "maglev": conf.Maglev} {
		c, _ := hashed(lb, 1000, ones(1000), nil)
		b.Run(name, func(b *testing.B) {
			balancer, choice := NewBalancer(c, 1), &Choice{HasHash: true}
			for b.Loop() {
				choice.Hash = mix(choice.Hash)
				balancer.PickFor(choice.Hash, choice)
			}
		})
	}
	hosts := make([]string, 100)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("s=%d v=1", i%10)
	}
	c, _ := divided(conf.Subsets{Selectors: []conf.SubsetSelector{selector("s v", conf.SubsetNoFallback)}}, hosts...)
	b.Run("subset", func(b *testing.B) {
		balancer, choice := NewBalancer(c, 1), &Choice{Criteria: NewCriteria(meta("s=7 v=1"))}
		for b.Loop() {
			balancer.PickFor(7, choice)
		}
	})
}

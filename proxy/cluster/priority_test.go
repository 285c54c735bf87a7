package cluster

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// share is how many hosts of 100 a level has healthy and degraded.
type share struct{ healthy, degraded int }

// levelsOf makes levels of 100 hosts each.
func levelsOf(shares ...share) []Level {
	var hosts []*Host
	for p, s := range shares {
		for i := range 100 {
			h := &Host{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(p), 0, byte(i)}), 80), Weight: 1, Priority: uint32(p), Index: len(hosts)}
			switch {
			case i < s.healthy:
			case i < s.healthy+s.degraded:
				h.Health = conf.EndpointDegraded
			default:
				h.Health = conf.EndpointUnhealthy
			}
			hosts = append(hosts, h)
		}
	}
	return newHostSet(planOf(conf.NewCluster("c")), hosts, nil).Levels
}

func TestPriorityLoads(t *testing.T) {
	for _, row := range []struct {
		rule   string
		levels []share
		want   string // healthy+degraded load of each level, ! for panic
	}{
		{"CL-20", []share{{100, 0}, {100, 0}}, "100+0 0+0"},
		{"CL-20", []share{{72, 0}, {100, 0}}, "100+0 0+0"},
		{"CL-20", []share{{71, 0}, {100, 0}}, "99+0 1+0"},
		{"CL-20", []share{{50, 0}, {100, 0}}, "70+0 30+0"},
		{"CL-20", []share{{25, 0}, {100, 0}}, "35+0 65+0"},
		{"CL-20", []share{{25, 0}, {25, 0}}, "50+0! 50+0!"},
		{"CL-20", []share{{0, 0}, {100, 0}}, "0+0 100+0"},
		{"CL-20 rounding goes to the first level", []share{{20, 0}, {20, 0}, {20, 0}}, "34+0! 33+0! 33+0!"},
		{"CL-20 three levels", []share{{50, 0}, {10, 0}, {100, 0}}, "70+0 14+0 16+0"},
		{"CL-21 degraded after healthy", []share{{0, 100}, {100, 0}}, "0+0 100+0"},
		{"CL-21 degraded takes what is left", []share{{50, 50}, {10, 0}}, "70+16 14+0"},
		{"CL-21 only degraded", []share{{0, 100}}, "0+100"},
		{"CL-21 rounding with degraded only", []share{{0, 20}, {0, 20}, {0, 20}}, "34+0! 33+0! 33+0!"},
		{"CL-22 no panic while the sum is 100", []share{{10, 0}, {100, 0}}, "14+0 86+0"},
		{"CL-22 at the threshold: none", []share{{50, 0}}, "100+0"},
		{"CL-22 under it", []share{{49, 0}}, "100+0!"},
		{"CL-22 degraded hosts count as available", []share{{25, 25}}, "50+50"},
		{"CL-22 nobody is usable: by number of hosts", []share{{0, 0}, {0, 0}, {0, 0}}, "34+0! 33+0! 33+0!"},
	} {
		t.Run(fmt.Sprint(row.rule, row.levels), func(t *testing.T) {
			got := ""
			for i, l := range levelsOf(row.levels...) {
				if i > 0 {
					got += " "
				}
				got += fmt.Sprintf("%d+%d", l.HealthyLoad, l.DegradedLoad)
				if l.Panic {
					got += "!"
				}
			}
			if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestLoadsAlwaysAddUpTo100(t *testing.T) { // CL-20
	rapid.Check(t, func(rt *rapid.T) {
		var hosts []*Host
		for p := range rapid.IntRange(1, 4).Draw(rt, "levels") {
			for range rapid.IntRange(0, 12).Draw(rt, "hosts") {
				hosts = append(hosts, &Host{
					Weight: 1, Priority: uint32(p), Index: len(hosts),
					Health: conf.EndpointHealth(rapid.IntRange(0, 2).Draw(rt, "health")),
				})
			}
		}
		set, sum := newHostSet(planOf(conf.NewCluster("c")), hosts, nil), uint32(0)
		for _, l := range set.Levels {
			sum += l.HealthyLoad + l.DegradedLoad
			if l.HealthyLoad+l.DegradedLoad > 0 && len(l.Hosts) == 0 {
				rt.Fatal("load for a level without hosts")
			}
			if !l.Panic && l.HealthyLoad > 0 && len(l.Healthy) == 0 {
				rt.Fatal("load for healthy hosts where there are none")
			}
			if !l.Panic && l.DegradedLoad > 0 && len(l.Degraded) == 0 {
				rt.Fatal("load for degraded hosts where there are none")
			}
		}
		if want := uint32(100); len(hosts) > 0 && sum != want {
			rt.Fatalf("loads add up to %d", sum)
		}
		if len(hosts) == 0 && sum != 0 {
			rt.Fatalf("load %d without hosts", sum)
		}
	})
}

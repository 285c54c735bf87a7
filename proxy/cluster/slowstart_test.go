package cluster

import (
	"math"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// CL-14: the part of its weight that a host gets.
func TestCL14SlowStartFactor(t *testing.T) {
	const second = int64(time.Second)
	for _, row := range []struct {
		since, window     int64
		aggression, least float64
		want              float64
	}{
		{0, 10 * second, 1, .1, .1}, {5 * second, 10 * second, 1, .1, .5}, {10 * second, 10 * second, 1, .1, 1}, {99 * second, 10 * second, 1, .1, 1},
		{25 * second / 10, 10 * second, 2, .1, .5}, {5 * second, 10 * second, .5, .1, .25}, {second / 100, 10 * second, 1, 0, .001}, {0, 10 * second, 1, 0, .0001},
	} {
		if got := slowFactor(row.since, row.window, row.aggression, row.least); math.Abs(got-row.want) > 1e-9 {
			t.Errorf("%+v: %v", row, got)
		}
	}
}

// CL-14: a host in the middle of its window gets about half of what the others get, and all when it is over.
func TestCL14SlowStartWeights(t *testing.T) {
	for _, lb := range []conf.LBPolicy{conf.RoundRobin, conf.LeastRequest} {
		c := conf.NewCluster("c")
		c.LB = lb
		c.SlowStart = &conf.SlowStart{Window: time.Hour, Aggression: conf.RuntimeDouble{Value: 1}, MinPercent: 10}
		for i := range 3 {
			c.Endpoints = append(c.Endpoints, endpointAt(i, 0))
		}
		k := newCluster(c, stats.NewRegistry(), nil)
		hosts := k.Hosts().Hosts
		hosts[0].healthySince.Store(now() - int64(time.Hour)/2)
		hosts[1].healthySince.Store(0)
		hosts[2].healthySince.Store(now() - int64(2*time.Hour))
		b := NewBalancer(k, 0)
		counts := picks(b, seeded(), 2500)
		if counts[0] < 490 || counts[0] > 510 || counts[1] < 990 {
			t.Errorf("%v: in the middle %v", lb, counts)
		}
		if n := testing.AllocsPerRun(100, func() { b.Pick(3) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		hosts[0].healthySince.Store(now() - int64(time.Hour))
		b.whole.groups[0].slowUntil = now()
		b.Pick(1)
		if b.whole.groups[0].slowUntil != 0 {
			t.Error("the group is slow for ever")
		}
		counts = picks(b, seeded(), 3000)
		if counts[0] < 850 { // least request: chance among equals
			t.Errorf("%v: afterwards %v", lb, counts)
		}
	}
}

// New hosts begin slowly where nobody checks them; with checks when they are found healthy.
func TestCL14WhatBeginsSlowly(t *testing.T) {
	c := conf.NewCluster("c")
	c.SlowStart = &conf.SlowStart{Window: time.Hour, Aggression: conf.RuntimeDouble{Value: 1}}
	c.Endpoints = append(c.Endpoints, endpointAt(0, 0))
	if newCluster(c, stats.NewRegistry(), nil).Hosts().Hosts[0].healthySince.Load() == 0 {
		t.Error("a new host is not new")
	}
	c.HealthCheck = &conf.HealthCheck{}
	if newCluster(c, stats.NewRegistry(), nil).Hosts().Hosts[0].healthySince.Load() != 0 {
		t.Error("an unchecked host has begun")
	}
}

// clusters.md 3: active_request_bias is the exponent of the active requests; FULL_SCAN finds the one with
// the fewest, and equals have the same chance.
func TestLeastRequestBiasAndFullScan(t *testing.T) {
	for bias, want := range map[float64]float64{0: .5, 1: .2, 2: 1.0 / 17} {
		k := clusterOf(conf.LeastRequest, 1000001, 1000000)
		k.Conf.LeastRequestBias.Value = bias
		k = newCluster(k.Conf, stats.NewRegistry(), nil)
		b := NewBalancer(k, 0)
		b.Load(k.Hosts().Hosts[0]).RqActive = 3
		if counts := picks(b, seeded(), 1700); math.Abs(float64(counts[0])-1700*want) > 5 {
			t.Errorf("bias %v: %v", bias, counts)
		}
	}
	k := clusterOf(conf.LeastRequest, 1, 1, 1, 1)
	k.Conf.LeastRequestFullScan = true
	b := NewBalancer(k, 0)
	hosts := k.Hosts().Hosts
	b.Load(hosts[1]).RqActive, b.Load(hosts[3]).RqActive = 1, 7
	counts := picks(b, seeded(), 10000)
	near(t, "one of the two idle hosts", counts[0], 10000, .5)
	if counts[1]+counts[3] != 0 {
		t.Errorf("busy hosts were picked: %v", counts)
	}
}

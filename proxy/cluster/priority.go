package cluster

// distribute sets the loads and the panic of levels from their hosts.
//
// Availability of a level is min(100, 140 % of its healthy share), the same for
// degraded hosts; excluded hosts count nowhere. Load goes to healthy hosts level by level, then to degraded
// ones, each level taking its availability's part of the sum; what rounding
// leaves goes to the first level that has any (CL-20, CL-21). Levels below the
// panic threshold use all their hosts, but only when the sum is under 100 (CL-22); when all are, load goes
// by the number of hosts.
func distribute(p plan, levels []Level) {
	sum := uint32(0)
	for i := range levels {
		l := &levels[i]
		l.available[healthyKind] = l.availability(p, l.Healthy)
		l.available[degradedKind] = l.availability(p, l.Degraded)
		sum += l.available[healthyKind] + l.available[degradedKind]
	}
	sum = min(100, sum)
	if sum < 100 && p.panicThreshold > 0 {
		panicking := 0
		for i := range levels {
			if levels[i].Panic = levels[i].panics(p.panicThreshold); levels[i].Panic {
				panicking++
			}
		}
		if panicking == len(levels) {
			distributePanic(levels)
			return
		}
	}
	if sum == 0 {
		return
	}
	left := uint32(100)
	for i := range levels {
		levels[i].HealthyLoad = min(left, levels[i].available[healthyKind]*100/sum)
		left -= levels[i].HealthyLoad
	}
	for i := range levels {
		levels[i].DegradedLoad = min(left, levels[i].available[degradedKind]*100/sum)
		left -= levels[i].DegradedLoad
	}
	if left > 0 {
		giveRest(levels, left)
	}
}

// availability returns how much of a level's load hosts could take, in percent.
func (l *Level) availability(p plan, hosts []*Host) uint32 {
	usable, total := uint64(len(hosts)), uint64(len(l.Hosts)-len(l.Excluded))
	if p.conf.WeightedPriorityHealth {
		usable, total = totalWeight(hosts), totalWeight(l.Hosts)-totalWeight(l.Excluded)
	}
	if total == 0 {
		return 0
	}
	return uint32(min(100, uint64(p.conf.Overprovisioning)*usable/total))
}

func (l *Level) panics(threshold float64) bool {
	total := len(l.Hosts) - len(l.Excluded)
	if total <= 0 {
		return true
	}
	return 100*float64(len(l.Healthy))/float64(total)+100*float64(len(l.Degraded))/float64(total) < threshold
}

// distributePanic shares by the number of hosts.
func distributePanic(levels []Level) {
	total, left := 0, uint32(100)
	for i := range levels {
		total += len(levels[i].Hosts)
	}
	if total == 0 {
		return
	}
	first := -1
	for i := range levels {
		n := len(levels[i].Hosts)
		if first < 0 && n > 0 {
			first = i
		}
		levels[i].HealthyLoad = uint32(100 * n / total)
		left -= levels[i].HealthyLoad
	}
	levels[first].HealthyLoad += left
}

func giveRest(levels []Level, left uint32) {
	for i := range levels {
		if levels[i].HealthyLoad > 0 {
			levels[i].HealthyLoad += left
			return
		}
	}
	for i := range levels {
		if levels[i].DegradedLoad > 0 {
			levels[i].DegradedLoad += left
			return
		}
	}
}

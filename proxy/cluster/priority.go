package cluster

const (
	// overprovisioningPercent is ClusterLoadAssignment.policy.overprovisioning_factor's default.
	overprovisioningPercent = 140
	// panicThresholdPercent is common_lb_config.healthy_panic_threshold's default.
	panicThresholdPercent = 50
)

// distribute sets the loads and the panic of levels from their hosts.
//
// Availability of a level is min(100, 140 % of its healthy share), the same for
// degraded hosts. Load goes to healthy hosts level by level, then to degraded
// ones, each level taking its availability's part of the sum; what rounding
// leaves goes to the first level that has any (CL-20, CL-21). Levels below the
// panic threshold use all their hosts, but only when the sum is under 100 (CL-22).
func distribute(levels []Level) {
	sum := uint32(0)
	for i := range levels {
		l := &levels[i]
		l.available[healthyKind] = availability(len(l.Healthy), len(l.Hosts))
		l.available[degradedKind] = availability(len(l.Degraded), len(l.Hosts))
		sum += l.available[healthyKind] + l.available[degradedKind]
	}
	sum = min(100, sum)
	if sum < 100 {
		for i := range levels {
			levels[i].Panic = panics(&levels[i])
		}
	}
	if sum == 0 {
		distributePanic(levels)
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

func availability(usable, total int) uint32 {
	if total == 0 {
		return 0
	}
	return uint32(min(100, overprovisioningPercent*usable/total))
}

func panics(l *Level) bool {
	total := len(l.Hosts)
	if total == 0 {
		return true
	}
	return 100*len(l.Healthy)/total+100*len(l.Degraded)/total < panicThresholdPercent
}

// distributePanic shares by the number of hosts when none is usable anywhere.
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
		if len(levels[i].Healthy) > 0 && levels[i].HealthyLoad > 0 {
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

package stats

import (
	"math"
	"math/bits"
)

// A Distribution counts values in log-linear buckets: every power of two from 64 on is cut into 64
// equal ones, so that a bucket is at most 1/64 of its values wide; below 64 every integer has its own.
//
//	group 0: 0 1 2 ... 63 | group 1: 64 65 ... 127 | group 2: 128-129 130-131 ... | ... | group 34
//
// Values of 2^40 and more (34 years of ms, 1 TiB) count as the largest. A group's counts (512 bytes) come with its first value,
// so a latency histogram takes a few KiB. The zero value is empty.
type Distribution struct {
	groups [groups]*[perGroup]uint64
	// Count is the number of values, Sum their exact sum.
	Count, Sum uint64
}

const (
	perGroup  = 64
	groups    = 35
	maxValue  = 1<<40 - 1
	groupBits = 6
)

// place returns the bucket of v.
func place(v uint64) (group, slot int) {
	if v < perGroup {
		return 0, int(v)
	}
	v = min(v, maxValue)
	group = bits.Len64(v) - groupBits
	return group, int(v>>(group-1)) & (perGroup - 1)
}

// bounds returns the least and the largest value of a bucket.
func bounds(group, slot int) (low, high uint64) {
	if group == 0 {
		return uint64(slot), uint64(slot)
	}
	low = uint64(perGroup+slot) << (group - 1)
	return low, low + 1<<(group-1) - 1
}

// tryAdd is add when that needs no memory; false, with nothing done, when d or the group is not there.
func (d *Distribution) tryAdd(v uint64) bool {
	if d == nil {
		return false
	}
	group, slot := place(v)
	counts := d.groups[group]
	if counts == nil {
		return false
	}
	counts[slot]++
	d.Count++
	d.Sum += v
	return true
}

func (d *Distribution) add(v uint64) {
	if d.tryAdd(v) {
		return
	}
	group, _ := place(v)
	d.groups[group] = new([perGroup]uint64)
	d.tryAdd(v)
}

// copyInto makes dst equal to d, reusing its memory. A group never goes away, so none is left over.
func (d *Distribution) copyInto(dst *Distribution) {
	dst.Count, dst.Sum = d.Count, d.Sum
	for i, counts := range d.groups {
		if counts == nil {
			continue
		}
		if dst.groups[i] == nil {
			dst.groups[i] = new([perGroup]uint64)
		}
		*dst.groups[i] = *counts
	}
}

// merge adds other to d.
func (d *Distribution) merge(other *Distribution) {
	d.Count += other.Count
	d.Sum += other.Sum
	for i, counts := range other.groups {
		if counts == nil {
			continue
		}
		if d.groups[i] == nil {
			d.groups[i] = new([perGroup]uint64)
		}
		for j, n := range counts {
			d.groups[i][j] += n
		}
	}
}

// subtract takes an earlier state of d away from it; nil is empty.
func (d *Distribution) subtract(earlier *Distribution) {
	if earlier == nil {
		return
	}
	d.Count -= earlier.Count
	d.Sum -= earlier.Sum
	for i, counts := range earlier.groups {
		if counts == nil {
			continue
		}
		for j, n := range counts {
			d.groups[i][j] -= n
		}
	}
}

func (d *Distribution) clone() *Distribution {
	c := new(Distribution)
	d.copyInto(c)
	return c
}

// Quantile returns the value below which the share q (0 to 1) of the values lies: exact below 128,
// within 1.6 % above; NaN when there is none.
func (d *Distribution) Quantile(q float64) float64 {
	if d == nil || d.Count == 0 {
		return math.NaN()
	}
	rank := q * float64(d.Count)
	var before float64
	var last float64
	for group, counts := range d.groups {
		if counts == nil {
			continue
		}
		for slot, n := range counts {
			if n == 0 {
				continue
			}
			low, high := bounds(group, slot)
			if rank <= before+float64(n) {
				return float64(low) + float64(high-low)*max(0, rank-before)/float64(n)
			}
			before, last = before+float64(n), float64(high)
		}
	}
	return last
}

// AtMost returns how many values are <= le. A bucket that straddles le counts whole, so values equal
// to le always count.
func (d *Distribution) AtMost(le float64) uint64 {
	if d == nil {
		return 0
	}
	var total uint64
	for group, counts := range d.groups {
		if counts == nil {
			continue
		}
		for slot, n := range counts {
			if n == 0 {
				continue
			}
			if low, _ := bounds(group, slot); float64(low) > le {
				return total
			}
			total += n
		}
	}
	return total
}

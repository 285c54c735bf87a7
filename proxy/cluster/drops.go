package cluster

import (
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Drops decides which requests a cluster with drop_overloads does not get. Used by all loops.
type Drops struct {
	Stats *stats.DropOverloadStats
	share conf.Fraction
	// limit is the most that is dropped, in percent (runtime load_balancing_policy.drop_overload_limit).
	limit *runtime.Uint
}

// Next says whether one more request is dropped, by chance, and whether every one would be.
func (d *Drops) Next(random uint64) (drop, all bool) {
	n, of := uint64(d.share.Numerator), uint64(d.share.Denominator)
	if limit := d.limit.Load(); limit < 100 && n*100 > limit*of {
		n, of = limit, 100
	}
	return random%of < n, n >= of
}

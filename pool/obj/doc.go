// Package obj keeps per-loop free lists of typed objects.
//
// A request's state is one struct taken from its loop's list and put back when
// the request ends, so a proxied request allocates nothing. Lists are
// loop-owned: no lock and no atomic.
//
// With the build tag sluicedebug every list counts generations and panics when
// an object is put back twice or was never taken from it.
package obj

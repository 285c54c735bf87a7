package cluster

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Choice is what a request or connection says about the host it wants. The zero
// value, like nil, wants any. It is read during the call only.
type Choice struct {
	// Random chooses the priority level, and the host where the policy is random; 0: the loop draws
	// anew. A retry that wants another host gives other bits.
	Random uint64
	// Hash chooses the host of a RING_HASH or MAGLEV cluster when HasHash; the same
	// hash gets the same host. Other policies ignore it.
	Hash    uint64
	HasHash bool
	// Criteria choose the subset; nil: none. Ignored without lb_subset_config.
	Criteria *Criteria
	// Tried are priorities to keep away from (retry_priority previous_priorities); nil: none.
	Tried *Tried
	// Judge is asked about each host that is chosen; while it refuses, the balancer chooses again, at
	// most Again times; then the last one stands (retry_host_predicate,
	// host_selection_retry_max_attempts). nil: nobody is asked.
	Judge HostJudge
	Again int
	// Destination is where a connection was going before it was redirected here, DestinationText an address
	// with a port as a header or metadata give it, which counts before: the host of an ORIGINAL_DST cluster.
	Destination     netip.AddrPort
	DestinationText []byte
	// Name is where a request or connection goes that a dynamic forward proxy takes, as AppendName makes it.
	Name []byte
}

// HostJudge says which hosts a request does not want: those it was at already, say. Asked on the loop,
// within the choice; it must not allocate.
type HostJudge interface{ Refuses(h *Host) bool }

// Tried is a set of priorities, for Choice. The balancer empties it when no other priority is left. The
// zero value is empty.
type Tried [(maxPriority + 64) / 64]uint64

// Add puts a priority in.
func (t *Tried) Add(priority uint32) { t[priority/64] |= 1 << (priority % 64) }

// Has reports whether a priority is in.
func (t *Tried) Has(priority uint32) bool { return t[priority/64]&(1<<(priority%64)) != 0 }

// Reset empties it.
func (t *Tried) Reset() { *t = Tried{} }

// Hash returns the hash of a key as Envoy's hash policies compute it (a source
// address as text, a filter state's value): xxHash64 with seed 0.
func Hash(key []byte) uint64 { return xxhash.Sum64(key) }

// Criteria are load balancing criteria: what the metadata of the wanted hosts
// says under some keys (metadata_match). Those of the configuration are made by
// NewCriteria once and shared, read-only; the zero value is one connection's own,
// to be filled by Merge and SetText and reused after Reset, without allocation
// once it has held as much before.
type Criteria struct {
	pairs []pair // sorted by key, distinct
	hash  uint64 // of pairs
	text  []byte // what SetText stored
	// items are the criteria of a fallback_list among the pairs; they are merged over the others, one after
	// the other, where metadata_fallback_policy says so.
	items []*Criteria
}

// fallbackList is the key of what metadata_fallback_policy FALLBACK_LIST tries.
const fallbackList = "fallback_list"

// compileItems reads a fallback_list: a list of mappings. What is none counts for nothing.
func compileItems(value string) []*Criteria {
	var list []map[string]json.RawMessage
	if json.Unmarshal([]byte(value), &list) != nil {
		return nil
	}
	items := make([]*Criteria, 0, len(list))
	for _, one := range list {
		c := new(Criteria)
		for key, v := range one {
			c.set(key, plain(string(v)))
		}
		c.sum()
		items = append(items, c)
	}
	return items
}

// alternative makes c the criteria of from but for its fallback_list, with those of item over them.
func (c *Criteria) alternative(from, item *Criteria) {
	c.Reset()
	for i := range from.pairs {
		if from.pairs[i].key != fallbackList {
			c.pairs = append(c.pairs, from.pairs[i])
		}
	}
	for i := range item.pairs {
		c.set(item.pairs[i].key, item.pairs[i].value)
	}
	c.sum()
}

// pair is a key with its value: a string as '"' and its bytes without escapes,
// anything else as JSON. Strings thus have one form however they were escaped,
// and no string looks like another kind of value.
type pair struct {
	key   string
	value []byte
}

// NewCriteria compiles metadata; nil when it is empty.
func NewCriteria(m conf.LBMetadata) *Criteria {
	if len(m) == 0 {
		return nil
	}
	c := &Criteria{pairs: make([]pair, 0, len(m))}
	for key, value := range m {
		c.set(key, plain(value))
		if key == fallbackList {
			c.items = compileItems(value)
		}
	}
	c.sum()
	return c
}

// Merge takes the criteria of over in, over those c has under the same keys
// (TCP-20: the filter's, the weighted cluster's, the dynamic metadata's, in this
// order). It keeps views of over's values. over may be nil.
func (c *Criteria) Merge(over *Criteria) {
	if over == nil {
		return
	}
	for i := range over.pairs {
		c.set(over.pairs[i].key, over.pairs[i].value)
	}
	if over.items != nil {
		c.items = over.items
	}
	c.sum()
}

// SetText makes the string text, which it copies, the value of key.
func (c *Criteria) SetText(key string, text []byte) {
	start := len(c.text)
	c.text = append(append(c.text, '"'), text...)
	c.set(key, c.text[start:len(c.text):len(c.text)])
	c.sum()
}

// Reset empties c and keeps its memory.
func (c *Criteria) Reset() {
	clear(c.pairs) // they may be views of a configuration that is gone
	c.pairs, c.text, c.hash, c.items = c.pairs[:0], c.text[:0], 0, nil
}

// Len returns how many criteria there are.
func (c *Criteria) Len() int { return len(c.pairs) }

func (c *Criteria) set(key string, value []byte) {
	i := 0
	for i < len(c.pairs) && c.pairs[i].key < key {
		i++
	}
	if i == len(c.pairs) || c.pairs[i].key != key {
		c.pairs = append(c.pairs, pair{})
		copy(c.pairs[i+1:], c.pairs[i:])
	}
	c.pairs[i] = pair{key, value}
}

func (c *Criteria) sum() { c.hash = sumOf(c.pairs) }

// keep makes c the criteria of from whose keys are in keys. c may be from.
func (c *Criteria) keep(from *Criteria, keys []string) {
	kept := c.pairs[:0]
	for i := range from.pairs {
		if slices.Contains(keys, from.pairs[i].key) {
			kept = append(kept, from.pairs[i])
		}
	}
	c.pairs = kept
	c.sum()
}

// hasKeys reports whether c has these keys, which are sorted, and no other.
func (c *Criteria) hasKeys(keys []string) bool {
	if len(keys) != len(c.pairs) {
		return false
	}
	for i := range keys {
		if c.pairs[i].key != keys[i] {
			return false
		}
	}
	return true
}

func sumOf(pairs []pair) uint64 {
	h := uint64(0)
	for i := range pairs {
		h = mix(h ^ xxhash.Sum64String(pairs[i].key))
		h = mix(h ^ xxhash.Sum64(pairs[i].value))
	}
	return h
}

func samePairs(a, b []pair) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].key != b[i].key || !bytes.Equal(a[i].value, b[i].value) {
			return false
		}
	}
	return true
}

// plain brings a JSON value into the form of pair.value. What is no JSON stays
// as it is.
func plain(value string) []byte {
	var s string
	if len(value) > 0 && value[0] == '"' && json.Unmarshal([]byte(value), &s) == nil {
		return append([]byte{'"'}, s...)
	}
	return []byte(value)
}

// elements returns the values that a value stands for with list_as_any: those of
// the list, or the value itself.
func elements(value string) [][]byte {
	var list []json.RawMessage
	if len(value) == 0 || value[0] != '[' || json.Unmarshal([]byte(value), &list) != nil {
		return [][]byte{plain(value)}
	}
	out := make([][]byte, len(list))
	for i, v := range list {
		out[i] = plain(string(v))
	}
	return out
}

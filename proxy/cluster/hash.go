package cluster

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// hashKeyMetadata is the key of an endpoint's envoy.lb metadata that says what
// the host is hashed by.
const hashKeyMetadata = "hash_key"

// hashKey returns what a host's places in a table are computed from (CL-10): the
// hash_key of its metadata when that is a string, else its hostname when
// byHostname, else its address.
func hashKey(h *Host, byHostname bool) string {
	if key, ok := h.Metadata[hashKeyMetadata]; ok {
		if v := plain(key); len(v) > 1 && v[0] == '"' {
			return string(v[1:])
		}
	}
	if byHostname && h.Hostname != "" {
		return h.Hostname
	}
	return h.AddrText
}

// hashFunction returns RingHashLbConfig.hash_function.
func hashFunction(f conf.RingHashFunction) func([]byte) uint64 {
	if f == conf.MurmurHash2 {
		return murmurHash2
	}
	return xxhash.Sum64
}

// murmurHash2 is MurmurHash2 for 64 bits by Austin Appleby (public domain), with
// the seed of libstdc++'s std::hash, as Envoy uses it.
func murmurHash2(b []byte) uint64 {
	const seed, mul = 0xc70f6907, 0xc6a4a7935bd1e995
	shift := func(v uint64) uint64 { return v ^ v>>47 }
	h := seed ^ uint64(len(b))*mul
	for ; len(b) >= 8; b = b[8:] {
		h = (h ^ shift(binary.LittleEndian.Uint64(b)*mul)*mul) * mul
	}
	if len(b) > 0 {
		var rest [8]byte
		copy(rest[:], b)
		h = (h ^ binary.LittleEndian.Uint64(rest[:])) * mul
	}
	return shift(shift(h) * mul)
}

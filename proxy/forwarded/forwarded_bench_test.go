package forwarded

import (
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

// BenchmarkRequest measures the policy on a small request at the edge, with a new request id.
func BenchmarkRequest(b *testing.B) {
	base := request(b, "/", "user-agent: bench", "accept: */*")
	p, in, h := policy(useRemote), facts("192.0.2.1"), new(header.Head)
	b.ReportAllocs()
	for range b.N {
		h.Reset(base.Base())
		for _, f := range base.Fields {
			h.Push(f.Name, f.Value, f.ID)
		}
		p.Request(h, in)
	}
}

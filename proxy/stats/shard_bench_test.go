package stats

import "testing"

func BenchmarkInc(b *testing.B) {
	r := NewRegistry()
	c, s := r.Counter("c"), r.NewShard()
	for b.Loop() {
		s.Inc(c)
	}
}

func BenchmarkRecord(b *testing.B) {
	r := NewRegistry()
	h, s := r.Histogram("h", UnitMilliseconds), r.NewShard()
	v := uint64(0)
	for b.Loop() {
		s.Record(h, v&8191)
		v++
	}
}

func BenchmarkCollect1000Clusters(b *testing.B) {
	r := NewRegistry()
	s := r.NewShard()
	for i := range 1000 {
		c := NewClusterStats(r, string(rune('a'+i%26))+string(rune('0'+i/26)))
		s.Inc(c.UpstreamCxTotal)
		s.Record(c.UpstreamCxConnectMs, uint64(i))
	}
	for b.Loop() {
		_ = r.WritePrometheus(discard{}, Options{Type: TypeAll, Buckets: BucketsCumulative})
	}
}

package stats

import "testing"

func TestTLSStatisticsHaveEnvoysNames(t *testing.T) {
	for _, row := range []struct {
		title  string
		open   func(*Registry)
		prefix string
		want   string
	}{
		{"ssl (clusters.md 8)", func(r *Registry) { NewSSLStats(r, "cluster.c.ssl.") }, "cluster.c.ssl.", "handshake connection_error no_certificate session_reused fail_verify_{no_cert,error,san,cert_hash}"},
		{"staples", func(r *Registry) { NewOCSPStats(r, "listener.l.ssl.") }, "listener.l.ssl.", "ocsp_staple_{requests,responses,omitted,failed}"},
		{"reloads", func(r *Registry) { NewSSLSocketStats(r, "listener.l.server_ssl_socket_factory.") }, "listener.l.server_ssl_socket_factory.", "ssl_context_update_by_sds key_rotation_failed"},
		{"names that have not occurred", func(r *Registry) { NewNameStats(r, "listener.l.ssl.versions.", []string{"TLSv1.2"}) }, "", ""},
		{"names that have", func(r *Registry) {
			n, s := NewNameStats(r, "listener.l.ssl.versions.", []string{"TLSv1.2", "TLSv1.3"}), r.NewShard()
			n.Charge(s, 1)
			n.Charge(s, 1)
		}, "listener.l.ssl.versions.", "TLSv1.3"},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := NewRegistry()
			row.open(r)
			got, want := kinds(r.Collect()), expand(row.prefix, row.want)
			for name, kind := range want {
				if got[name] != kind {
					t.Errorf("%s is %q, want %s", name, got[name], kind)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// Loops that meet a name at the same time count into the same series.
func TestNamesAreCountedByEachLoop(t *testing.T) {
	r := NewRegistry()
	n := NewNameStats(r, "x.", []string{"a"})
	one, two := r.NewShard(), r.NewShard()
	for range 3 {
		n.Charge(one, 0)
		n.Charge(two, 0)
	}
	if c := r.Collect().Counters; len(c) != 1 || c[0].Value != 6 {
		t.Errorf("%+v", c)
	}
}

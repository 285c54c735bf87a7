package accesslog

import (
	"net/netip"
	"os"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func BenchmarkDefaultLine(b *testing.B) {
	m, _ := newManager(b)
	l, err := m.Compile(&conf.AccessLog{Path: os.DevNull})
	if err != nil {
		b.Fatal(err)
	}
	s := m.NewShard()
	i := &streaminfo.Info{
		Request:     request("user-agent: curl/8.5.0", "x-request-id: cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2", "x-forwarded-for: 10.0.35.28"),
		Response:    request("x-envoy-upstream-service-time: 1"),
		StartUnixNs: 1_700_000_000_123_456_789, Start: 1, End: 2_000_000, Protocol: header.HTTP11, ResponseCode: 200, BytesSent: 10240,
		UpstreamAddress: netip.MustParseAddrPort("10.0.2.1:80"), Conn: &streaminfo.Connection{},
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Log(s, i)
	}
}

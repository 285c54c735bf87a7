package e2e

import (
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// clusters.md 7.1: a gRPC check asks grpc.health.v1.Health/Check over HTTP/2; only SERVING is healthy.
func TestGRPCHealthCheck(t *testing.T) {
	harness.NoLeaks(t)
	var status atomic.Int32
	status.Store(1)
	var asked atomic.Pointer[http.Request]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r)
		body := make([]byte, 32)
		n, _ := r.Body.Read(body)
		w.Header().Set("content-type", "application/grpc")
		w.Header().Set("trailer", "grpc-status")
		if string(body[:n]) != "\x00\x00\x00\x00\x05\x0a\x03svc" {
			w.Header().Set("grpc-status", "3")
			return
		}
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, byte(status.Load())})
		w.Header().Set("grpc-status", "0")
	})}
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	p := harness.Start(t, checked("http2_protocol_options: {}\n"+checks(`grpc_health_check: { service_name: svc, authority: check.test, initial_metadata: [{ header: { key: x-a, value: b } }] }`), harness.At(l.Addr().String())))
	awaitFlags(t, p, "healthy")
	if r := asked.Load(); r.URL.Path != "/grpc.health.v1.Health/Check" || r.Host != "check.test" || r.Header.Get("x-a") != "b" || r.Method != "POST" || r.ProtoMajor != 2 {
		t.Errorf("%s %s %s %v", r.Method, r.Host, r.URL, r.Header)
	}
	status.Store(2)
	awaitFlags(t, p, "/failed_active_hc")
	status.Store(1)
	awaitFlags(t, p, "healthy")
}

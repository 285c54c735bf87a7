package e2e

import (
	"context"
	"crypto/tls"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop"
	interop_testing "google.golang.org/grpc/interop/grpc_testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// grpcSides are the pairs of ways that gRPC goes.
func grpcSides(t *testing.T, f func(t *testing.T, down, up wireKind)) {
	t.Helper()
	for _, down := range []wireKind{overH2C, overH2TLS} {
		for _, up := range []wireKind{overH2C, overH2TLS} {
			t.Run(down.String()+" to "+up.String(), func(t *testing.T) { f(t, down, up) })
		}
	}
}

// grpcServerCreds and grpcClientCreds are nil for a side without TLS.
func grpcServerCreds(t *testing.T, a *harness.Authority, s wireKind) credentials.TransportCredentials {
	if s != overH2TLS {
		return nil
	}
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{a.Certificate(t, acceptOrigin)}, MinVersion: tls.VersionTLS12})
}

func grpcClientCreds(a *harness.Authority, s wireKind) credentials.TransportCredentials {
	if s != overH2TLS {
		return nil
	}
	return credentials.NewTLS(a.Client(acceptName))
}

// gRPC's own interoperability tests, from its client to its server (HC-71, RT-85).
func TestGRPCInterop(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	ctx := context.Background()
	grpcSides(t, func(t *testing.T, down, up wireKind) {
		o := newGRPCServer(t, grpcServerCreds(t, a, up))
		p := startSides(t, a, down, up, o, nil)
		cc := dialGRPC(p, grpcClientCreds(a, down))
		client := interop_testing.NewTestServiceClient(cc)
		for _, row := range []struct {
			title string
			do    func()
		}{
			{"empty_unary", func() { interop.DoEmptyUnaryCall(ctx, client) }},
			{"large_unary", func() { interop.DoLargeUnaryCall(ctx, client) }},
			{"client_streaming", func() { interop.DoClientStreaming(ctx, client) }},
			{"server_streaming", func() { interop.DoServerStreaming(ctx, client) }},
			{"ping_pong", func() { interop.DoPingPong(ctx, client) }},
			{"empty_stream", func() { interop.DoEmptyStream(ctx, client) }},
			{"timeout_on_sleeping_server", func() { interop.DoTimeoutOnSleepingServer(ctx, client) }},
			{"cancel_after_begin", func() { interop.DoCancelAfterBegin(ctx, client) }},
			{"cancel_after_first_response", func() { interop.DoCancelAfterFirstResponse(ctx, client) }},
			{"custom_metadata", func() { interop.DoCustomMetadata(ctx, client) }},
			{"status_code_and_message", func() { interop.DoStatusCodeAndMessage(ctx, client) }},
			{"special_status_message", func() { interop.DoSpecialStatusMessage(ctx, client) }},
			{"unimplemented_service", func() {
				interop.DoUnimplementedService(ctx, interop_testing.NewUnimplementedServiceClient(cc))
			}},
			{"unimplemented_method", func() { interop.DoUnimplementedMethod(ctx, cc) }},
		} {
			t.Run(row.title, func(t *testing.T) { runInterop(t, row.do) })
		}
		p.WantStats(harness.Stats{
			inHTTP + "downstream_cx_http2_total": 1, onOrigin + "upstream_cx_http2_total": 1,
			inHTTP + "downstream_rq_5xx": 0, inHTTP + "downstream_cx_protocol_error": 0, onOrigin + "upstream_rq_active": 0,
		})
		_ = cc.Close()
	})
}

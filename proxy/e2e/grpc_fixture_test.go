package e2e

import (
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	interop_testing "google.golang.org/grpc/interop/grpc_testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// grpcServer is grpc-go's server with the service of gRPC's interoperability tests.
type grpcServer struct {
	ln   net.Listener
	s    *grpc.Server
	done chan struct{}
}

// newGRPCServer starts one; creds of nil are none. options come on top.
func newGRPCServer(t testing.TB, creds credentials.TransportCredentials, options ...grpc.ServerOption) *grpcServer {
	t.Helper()
	return newGRPCService(t, interop.NewTestServer(), creds, options...)
}

// newGRPCService is newGRPCServer with another implementation of the service.
func newGRPCService(t testing.TB, service interop_testing.TestServiceServer, creds credentials.TransportCredentials, options ...grpc.ServerOption) *grpcServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	g := &grpcServer{ln: ln, s: grpc.NewServer(append(options, grpc.Creds(creds))...), done: make(chan struct{})}
	interop_testing.RegisterTestServiceServer(g.s, service)
	go func() {
		defer close(g.done)
		_ = g.s.Serve(ln)
	}()
	t.Cleanup(g.Stop)
	return g
}

// Address implements harness.Origin.
func (g *grpcServer) Address() string { return g.ln.Addr().String() }

// Stop implements harness.Origin.
func (g *grpcServer) Stop() {
	g.s.Stop()
	<-g.done
}

// dialGRPC is a client connection through the proxy, closed at the end of the test; creds of nil are none.
func dialGRPC(p *harness.Proxy, creds credentials.TransportCredentials) *grpc.ClientConn {
	p.T.Helper()
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	cc, err := grpc.NewClient("passthrough:///"+p.Addr, grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		p.T.Fatal(err)
	}
	p.T.Cleanup(func() { _ = cc.Close() })
	return cc
}

// runInterop runs one of package interop's functions on the test's goroutine. They end the process when
// something is wrong; here the test fails instead. Not for parallel tests.
func runInterop(t testing.TB, f func()) {
	t.Helper()
	failing.Store(&t)
	defer failing.Store(nil)
	f()
}

var failing atomic.Pointer[testing.TB]

// grpc-go wants its logger before its first use.
func init() { grpclog.SetLoggerV2(fatalLogger{}) }

// fatalLogger logs nothing, and turns Fatal into the end of the test that runInterop runs.
type fatalLogger struct{}

func (fatalLogger) Info(...any)             {}
func (fatalLogger) Infoln(...any)           {}
func (fatalLogger) Infof(string, ...any)    {}
func (fatalLogger) Warning(...any)          {}
func (fatalLogger) Warningln(...any)        {}
func (fatalLogger) Warningf(string, ...any) {}
func (fatalLogger) Error(...any)            {}
func (fatalLogger) Errorln(...any)          {}
func (fatalLogger) Errorf(string, ...any)   {}
func (fatalLogger) V(int) bool              { return false }

func (l fatalLogger) Fatal(a ...any) { l.Fatalln(a...) }

func (l fatalLogger) Fatalf(format string, a ...any) { l.Fatalln(fmt.Sprintf(format, a...)) }

func (fatalLogger) Fatalln(a ...any) {
	if t := failing.Load(); t != nil {
		(*t).Error(a...)
		runtime.Goexit() // grpclog ends the process otherwise
	}
}

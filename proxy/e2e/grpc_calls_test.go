package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	interop_testing "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Messages of a mebibyte and more, both ways at once, through windows and buffers that are smaller (HC-66).
func TestGRPCLargeMessages(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	grpcSides(t, func(t *testing.T, down, up wireKind) {
		o := newGRPCServer(t, grpcServerCreds(t, a, up), grpc.MaxRecvMsgSize(64<<20))
		p := startSides(t, a, down, up, o, func(m *conf.HTTPConnectionManager, c *conf.Cluster) {
			m.HTTP2.InitialStreamWindowSize, m.HTTP2.InitialConnectionWindowSize = 65535, 65535
			c.HTTP2.InitialStreamWindowSize, c.HTTP2.InitialConnectionWindowSize = 65535, 65535
			c.PerConnectionBufferLimitBytes = 64 << 10
		})
		cc := dialGRPC(p, grpcClientCreds(a, down))
		client := interop_testing.NewTestServiceClient(cc)
		for _, size := range []int32{1 << 20, 4<<20 + 1, 8 << 20} {
			r, err := client.UnaryCall(context.Background(), &interop_testing.SimpleRequest{ResponseSize: size, Payload: &interop_testing.Payload{Body: make([]byte, size)}})
			if err != nil || len(r.GetPayload().GetBody()) != int(size) {
				t.Errorf("%d bytes: %d, %v", size, len(r.GetPayload().GetBody()), err)
			}
		}
		stream, err := client.FullDuplexCall(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		const messages, size = 4, 1 << 20
		var sending sync.WaitGroup
		sending.Go(func() {
			for range messages {
				_ = stream.Send(&interop_testing.StreamingOutputCallRequest{
					ResponseParameters: []*interop_testing.ResponseParameters{{Size: size}}, Payload: &interop_testing.Payload{Body: make([]byte, size)},
				})
			}
			_ = stream.CloseSend()
		})
		got := 0
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got += len(r.GetPayload().GetBody())
		}
		sending.Wait()
		if got != messages*size {
			t.Errorf("%d bytes came back", got)
		}
		_ = cc.Close()
	})
}

// A thousand bidirectional streams are open at once, each with a message of its own under way (HC-66, CL-50).
func TestGRPCManyStreams(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	grpcSides(t, func(t *testing.T, down, up wireKind) {
		o := newGRPCServer(t, grpcServerCreds(t, a, up))
		p := startSides(t, a, down, up, o, nil)
		cc := dialGRPC(p, grpcClientCreds(a, down))
		client := interop_testing.NewTestServiceClient(cc)
		const streams = 1000
		ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
		defer cancel()
		var open, all sync.WaitGroup
		open.Add(streams)
		goOn := make(chan struct{})
		for n := range streams {
			all.Go(func() {
				arrived := sync.OnceFunc(open.Done)
				defer arrived()
				if err := talk(ctx, client, int32(n+1), arrived, goOn); err != nil {
					t.Errorf("stream %d: %v", n, err)
				}
			})
		}
		open.Wait()
		p.WantStats(harness.Stats{inHTTP + "downstream_rq_active": streams, inHTTP + "downstream_cx_active": 1, onOrigin + "upstream_rq_active": streams})
		close(goOn)
		all.Wait()
		p.WantStats(harness.Stats{
			inHTTP + "downstream_rq_2xx": streams, onOrigin + "upstream_rq_200": streams,
			inHTTP + "downstream_cx_total": 1, "http2.rx_reset": 0, "http2.tx_reset": 0, "http2.streams_active": 0,
		})
		_ = cc.Close()
	})
}

// talk has one message echoed, calls arrived, waits, and has another echoed.
func talk(ctx context.Context, client interop_testing.TestServiceClient, size int32, arrived func(), goOn chan struct{}) error {
	s, err := client.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for range 2 {
		if err := s.Send(&interop_testing.StreamingOutputCallRequest{ResponseParameters: []*interop_testing.ResponseParameters{{Size: size}}}); err != nil {
			return err
		}
		r, err := s.Recv()
		if err != nil || len(r.GetPayload().GetBody()) != int(size) {
			return fmt.Errorf("%d bytes of %d, %w", len(r.GetPayload().GetBody()), size, err)
		}
		arrived()
		<-goOn
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the end: %w", err)
	}
	return nil
}

// waitingService says when a call of FullDuplexCall has come, and how it ended.
type waitingService struct {
	interop_testing.UnimplementedTestServiceServer
	came  chan struct{}
	ended chan error
}

func (s *waitingService) FullDuplexCall(stream interop_testing.TestService_FullDuplexCallServer) error {
	s.came <- struct{}{}
	<-stream.Context().Done()
	s.ended <- stream.Context().Err()
	return stream.Context().Err()
}

// A client that cancels, or whose deadline passes, has the call canceled at the server, and only that
// call: the connections stay (HC-78, ROUTER-40).
func TestGRPCCancelReachesTheServer(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	grpcSides(t, func(t *testing.T, down, up wireKind) {
		service := &waitingService{came: make(chan struct{}, 1), ended: make(chan error, 1)}
		o := newGRPCService(t, service, grpcServerCreds(t, a, up))
		p := startSides(t, a, down, up, o, nil)
		cc := dialGRPC(p, grpcClientCreds(a, down))
		client := interop_testing.NewTestServiceClient(cc)
		for _, row := range []struct {
			title string
			begin func() (context.Context, context.CancelFunc)
			code  codes.Code
		}{
			{"cancel", func() (context.Context, context.CancelFunc) { return context.WithCancel(context.Background()) }, codes.Canceled},
			{"deadline", func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(context.Background(), 200*time.Millisecond)
			}, codes.DeadlineExceeded},
		} {
			t.Run(row.title, func(t *testing.T) {
				ctx, cancel := row.begin()
				defer cancel()
				stream, err := client.FullDuplexCall(ctx)
				if err != nil {
					t.Fatal(err)
				}
				<-service.came
				if row.code == codes.Canceled {
					cancel()
				}
				if _, err := stream.Recv(); status.Code(err) != row.code {
					t.Errorf("the client got %v", err)
				}
				select {
				case err := <-service.ended:
					if err == nil {
						t.Error("the server's context ended without an error")
					}
				case <-time.After(harness.Patience):
					t.Fatal("the server does not know")
				}
			})
		}
		p.WantStats(harness.Stats{
			inHTTP + "downstream_cx_active": 1, onOrigin + "upstream_cx_active": 1, onOrigin + "upstream_cx_total": 1,
			onOrigin + "upstream_rq_active": 0, inHTTP + "downstream_rq_active": 0,
		})
		// The server knows the deadline too, and may be the first to act on it.
		if n := p.Stat(onOrigin + "upstream_rq_tx_reset"); n < 1 || n > 2 {
			t.Errorf("%d resets were sent to the server", n)
		}
		_ = cc.Close()
	})
}

// What the proxy itself answers is a status that gRPC understands (RT-85).
func TestGRPCLocalReply(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, down := range []wireKind{overH2C, overH2TLS} {
		t.Run(down.String(), func(t *testing.T) {
			p := startSides(t, a, down, overH2C, harness.Refusing(t), nil)
			cc := dialGRPC(p, grpcClientCreds(a, down))
			_, err := interop_testing.NewTestServiceClient(cc).EmptyCall(context.Background(), &interop_testing.Empty{})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("%v", err)
			}
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_active": 1})
			_ = cc.Close()
		})
	}
}

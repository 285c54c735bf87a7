//go:build linux && (amd64 || arm64)

package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// secureServer is net/http's server over TLS and a client's configuration for it.
func secureServer(t *testing.T) (*httptest.Server, *tls.Config) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(serveTest))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that are cut off in a handshake
	srv.StartTLS()
	t.Cleanup(srv.Close)
	c := srv.Client().Transport.(*http.Transport).TLSClientConfig
	c.ServerName = "example.com"
	return srv, c
}

func TestRunOverTLS(t *testing.T) {
	for _, tc := range []struct {
		name string
		load Load
		body int64
	}{
		{"many connections", Load{Conns: 16, Path: "/bytes?n=13"}, 13},
		{"a body in many records", Load{Conns: 2, Path: "/bytes?n=100000"}, 100_000},
		{"upload", Load{Conns: 2, Method: "POST", Path: "/count", BodyBytes: 64 << 10}, 5},
		{"a handshake for each request", Load{Conns: 8, Path: "/bytes?n=7", CloseEach: true}, 7},
		{"HEAD", Load{Conns: 2, Method: "HEAD", Path: "/bytes?n=7"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv, secure := secureServer(t)
			var shaken, resumed atomic.Int64
			secure.VerifyConnection = func(s tls.ConnectionState) error {
				shaken.Add(1)
				if s.DidResume {
					resumed.Add(1)
				}
				return nil
			}
			l := tc.load
			l.Addr, l.TLS, l.Duration, l.WantBytes, l.MaxRequests = srv.Listener.Addr().String(), secure, hour, tc.body, 40
			opens := 0
			l.OnWindow = func(open bool) {
				if open {
					opens++
				} else {
					opens += 100
				}
			}
			res, err := Run(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			if res.Requests != 40 || res.Errors.Total() != 0 || res.BodyBytes != 40*tc.body || res.Latency.N != 40 || opens != 101 || res.LoadBusy <= 0 {
				t.Errorf("%d requests, %d bytes, %d latencies, window %d, busy %v, errors: %s", res.Requests, res.BodyBytes, res.Latency.N, opens, res.LoadBusy, &res.Errors)
			}
			if n := shaken.Load(); l.CloseEach != (n >= 40) || resumed.Load() != 0 {
				t.Errorf("%d handshakes, %d resumed", n, resumed.Load())
			}
		})
	}
}

func TestRunOverTLSCountsFailures(t *testing.T) {
	srv, secure := secureServer(t)
	plain := httptest.NewServer(http.HandlerFunc(serveTest))
	defer plain.Close()
	for _, tc := range []struct {
		name string
		addr string
		load Load
		of   func(e *Errors) int64
	}{
		{"status", srv.Listener.Addr().String(), Load{Path: "/status?n=404", WantBytes: -1}, func(e *Errors) int64 { return e.Status }},
		{"length", srv.Listener.Addr().String(), Load{Path: "/bytes?n=7", WantBytes: 8}, func(e *Errors) int64 { return e.Length }},
		{"no TLS", plain.Listener.Addr().String(), Load{}, func(e *Errors) int64 { return e.Connect }},
		{"nobody", "127.0.0.1:1", Load{}, func(e *Errors) int64 { return e.Connect }},
		{"timeout", srv.Listener.Addr().String(), Load{Path: "/stall", Timeout: 50 * time.Millisecond}, func(e *Errors) int64 { return e.Timeout }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := tc.load
			l.Addr, l.TLS, l.Duration, l.MaxRequests = tc.addr, secure, hour, 3
			res, err := Run(t.Context(), l)
			if err != nil || res.Requests != 0 || tc.of(&res.Errors) != 3 || res.Errors.Total() != 3 {
				t.Errorf("%d requests, errors: %s (%v)", res.Requests, &res.Errors, err)
			}
		})
	}
}

func TestRunOverTLSStops(t *testing.T) {
	srv, secure := secureServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	res, err := Run(ctx, Load{Addr: srv.Listener.Addr().String(), TLS: secure, Path: "/bytes?n=7", WantBytes: 7, Conns: 2, Duration: hour})
	if !errors.Is(err, context.DeadlineExceeded) || res.Requests == 0 || res.Errors.Total() != 0 {
		t.Errorf("%d requests, errors: %s (%v)", res.Requests, &res.Errors, err)
	}
	for _, l := range []Load{{Rate: 5}, {PingPongBytes: 5}, {SinkBytes: 5}} {
		l.Addr, l.TLS, l.Duration = srv.Listener.Addr().String(), secure, time.Second
		if _, err := Run(t.Context(), l); err == nil || !strings.Contains(err.Error(), "over TLS") {
			t.Errorf("error %v", err)
		}
	}
}

func TestHoldOverTLS(t *testing.T) {
	srv, secure := secureServer(t)
	release, err := Hold(t.Context(), srv.Listener.Addr().String(), "/bytes?n=5", secure, 20, 8)
	if err != nil {
		t.Fatal(err)
	}
	release()
}

//go:build !linux || (!amd64 && !arm64)

package bench

import (
	"context"
	"net/netip"
)

func run(context.Context, *Load, netip.AddrPort) (Result, error) { return Result{}, ErrUnsupported }

// Echo is an origin that sends back what it gets, on the thread of a Load. Here there is none.
type Echo struct{}

// ListenEcho returns ErrUnsupported.
func ListenEcho() (*Echo, error) { return nil, ErrUnsupported }

// Addr returns where bytes are echoed.
func (*Echo) Addr() string { return "" }

// Close closes all connections.
func (*Echo) Close() {}

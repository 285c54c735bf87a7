//go:build !linux || (!amd64 && !arm64)

package bench

import (
	"context"
	"net/netip"
)

func run(context.Context, *Load, netip.AddrPort) (Result, error) { return Result{}, ErrUnsupported }

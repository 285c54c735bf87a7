package retry

import (
	"bytes"
	"math/bits"
)

// Conditions is a set of the outcomes after which a request is tried again (router.md 5.2).
type Conditions uint32

// The conditions, by their names in retry_on.
const (
	On5xx Conditions = 1 << iota
	OnGatewayError
	OnReset
	OnResetBeforeRequest
	OnConnectFailure
	OnRateLimited
	OnRetriable4xx
	OnRefusedStream
	OnStatusCodes
	OnHeaders
	OnHTTP3PostConnectFailure
	OnCancelled
	OnDeadlineExceeded
	OnResourceExhausted
	OnInternal
	OnUnavailable

	numConditions = iota
)

// firstGRPC is the number of the first condition that a grpc-status meets; those before it are HTTP's.
const firstGRPC = 11

const (
	httpConditions = OnCancelled - 1
	grpcConditions = OnUnavailable<<1 - 1 - httpConditions
)

var names = [numConditions]string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
	"refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "resource-exhausted", "internal", "unavailable",
}

// grpcStatus is the grpc-status of each condition from firstGRPC on.
var grpcStatus = [numConditions - firstGRPC]string{"1", "4", "8", "13", "14"}

// All are all conditions.
func All() Conditions { return httpConditions | grpcConditions }

// Parse reads a list of conditions as retry_on has it. known is false when a name is none.
func Parse(list string) (c Conditions, known bool) {
	return parse([]byte(list), All())
}

// ParseHTTP reads x-envoy-retry-on, ParseGRPC x-envoy-retry-grpc-on. No allocation.
func ParseHTTP(list []byte) (c Conditions, known bool) { return parse(list, httpConditions) }

// ParseGRPC reads x-envoy-retry-grpc-on.
func ParseGRPC(list []byte) (c Conditions, known bool) { return parse(list, grpcConditions) }

func parse(list []byte, of Conditions) (c Conditions, known bool) {
	known = true
	for len(list) > 0 {
		name := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			name, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		if name = bytes.TrimSpace(name); len(name) == 0 {
			continue
		}
		one := condition(name) & of
		known = known && one != 0
		c |= one
	}
	return c, known
}

func condition(name []byte) Conditions {
	for i := range names {
		if string(name) == names[i] {
			return 1 << i
		}
	}
	return 0
}

// String lists the names.
func (c Conditions) String() string {
	text := ""
	for c &= All(); c != 0; c &= c - 1 {
		if text != "" {
			text += ","
		}
		text += names[bits.TrailingZeros32(uint32(c))]
	}
	return text
}

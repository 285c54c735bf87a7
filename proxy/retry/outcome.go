package retry

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/header"
)

// Reset is how a try ended without a response head.
type Reset uint8

const (
	// ResetConnect: there was no connection: refused, unreachable, TLS failed, or not in time.
	ResetConnect Reset = iota
	// ResetOverflow: a circuit breaker refused. Never tried again.
	ResetOverflow
	// ResetRefused: the server took nothing of it (REFUSED_STREAM, GOAWAY).
	ResetRefused
	// ResetBroke: anything else of the connection, the stream, or what came over it.
	ResetBroke
	// ResetTimeout: the try's own time is over (ROUTER-28, ROUTER-42, ROUTER-46).
	ResetTimeout
)

// Response says whether a response is worth another try: its conditions in the order of ROUTER-27.
func (s *State) Response(h *header.Head, o Options, scratch *[]byte) bool {
	switch {
	case s.on == 0:
		return false
	case h.Has(header.XEnvoyOverloaded) && !o.OverloadedRetries:
		return false
	case h.Has(header.XEnvoyRateLimited):
		return s.on&OnRateLimited != 0
	}
	code := h.Status
	switch {
	case s.on&On5xx != 0 && code >= 500 && code <= 599,
		s.on&OnGatewayError != 0 && code >= 502 && code <= 504,
		s.on&OnRetriable4xx != 0 && code == 409,
		s.on&OnStatusCodes != 0 && s.codes.has(code):
		return true
	}
	if s.on&OnHeaders != 0 && s.header(h, scratch) {
		return true
	}
	return s.on&grpcConditions != 0 && s.grpc(h.Get(header.GrpcStatus))
}

func (s *State) header(h *header.Head, scratch *[]byte) bool {
	if s.policy != nil && anyHolds(s.policy.headers, h, scratch) {
		return true
	}
	for list := s.names; len(list) > 0; {
		i := bytes.IndexByte(list, ',')
		if name := bytes.TrimSpace(list[:i]); len(name) > 0 && hasField(h, name) {
			return true
		}
		list = list[i+1:]
	}
	return false
}

// hasField says whether there is a field of that name, in any letter case.
func hasField(h *header.Head, name []byte) bool {
	if id := header.Lookup(name); id != header.Unknown {
		return h.Has(id)
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID == header.Unknown && !f.Dead && bytes.EqualFold(h.Bytes(f.Name), name) {
			return true
		}
	}
	return false
}

func (s *State) grpc(status []byte) bool {
	for i := range grpcStatus {
		if s.on&(1<<(firstGRPC+i)) != 0 && string(status) == grpcStatus[i] {
			return true
		}
	}
	return false
}

// ResetBy says whether a try that ended so is worth another one. begun says that the request's head had
// been written to the server.
func (s *State) ResetBy(r Reset, begun bool) bool {
	switch r {
	case ResetOverflow:
		return false
	case ResetConnect:
		if s.on&OnConnectFailure != 0 {
			return true
		}
	case ResetRefused:
		if s.on&OnRefusedStream != 0 {
			return true
		}
	}
	return s.on&(On5xx|OnGatewayError|OnReset) != 0 || !begun && s.on&OnResetBeforeRequest != 0
}

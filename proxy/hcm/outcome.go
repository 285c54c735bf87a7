package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// noteHead tells outlier detection and health checking of an answer whose head has come (CL-41, CL-46).
// Only for hosts whose outcomes matter to somebody.
func (a *attempt) noteHead(h *header.Head, end bool) {
	if h.Has(header.XEnvoyImmediateHealthCheckFail) {
		a.endpoint.Host.FailedAtOnce()
	}
	switch {
	case !a.st.isGRPC() || h.Status != 200:
		a.endpoint.Answered(h.Status)
	case end || h.Has(header.GrpcStatus):
		noteGRPC(a.endpoint, h)
	}
	// else the trailers say
}

// noteGRPC notes what grpc-status says: 200 when it says nothing.
func noteGRPC(e *worker.Endpoint, h *header.Head) {
	code, text := uint32(0), h.Get(header.GrpcStatus)
	for _, c := range text {
		if c < '0' || c > '9' || len(text) > 3 {
			code = 2 // UNKNOWN
			break
		}
		code = code*10 + uint32(c-'0')
	}
	e.Answered(cluster.GRPCStatus(code))
}

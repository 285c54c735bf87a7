package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// downstream is the client side of a stream, as its codec offers it. Calls are made on the loop,
// in the order head, data..., trailers; end marks the last one. None of them calls the stream back.
type downstream interface {
	// informational sends an interim (1xx) response.
	informational(st *stream, h *header.Head)
	// responseHead writes the head; framing is the codec's own decision from h.Transfer.
	responseHead(st *stream, h *header.Head, end bool)
	// responseData writes body bytes; p is copied or written before return.
	responseData(st *stream, p []byte, end bool)
	// responseTrailers ends the response with trailers.
	responseTrailers(st *stream, t *header.Head)
	// full says whether more data should wait for the stream's onDownstreamDrained.
	full(st *stream) bool
	// bare returns the connection when response bytes can be written to it as they are, with no
	// framing around them: then the engine may carry a bulk body (bulk.go). Else nil.
	bare(st *stream) *engine.Conn
	// uploaded says that the engine carried n bytes of the request's body; clientEnded that it met
	// the client's FIN instead of the rest.
	uploaded(st *stream, n int64)
	clientEnded(st *stream)
	// pauseRequest and resumeRequest stop and restart delivery of request data.
	pauseRequest(st *stream)
	resumeRequest(st *stream)
	// finish is called once, when the stream is over on both sides or given up: whole says whether
	// the response was completed in order. The codec decides what becomes of the connection; the
	// stream must not be touched afterwards.
	finish(st *stream, whole bool, r reason.Reason)
}

// upstream is the origin side of a stream's current attempt. Same rules as downstream.
type upstream interface {
	requestHead(h *header.Head, end bool)
	requestData(p []byte, end bool)
	requestTrailers(t *header.Head)
	full() bool
	pauseResponse()
	resumeResponse()
	// cancel gives the attempt up, whatever its state; the stream hears nothing more from it.
	cancel()
}

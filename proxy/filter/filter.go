package filter

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Status is a filter's answer to an event.
type Status uint8

const (
	// Continue hands the event to the next filter, and before it what the filter has kept of the message.
	Continue Status = iota
	// Buffer keeps the event and what came before in the stream; the filter sees what follows. More data
	// than the limit (Stream.SetLimit) ends the stream: 413 for a request, 500 for a response.
	Buffer
	// Pause keeps the event and stops the sender; the filter sees nothing of the message until it calls
	// Stream.Continue. What the sender had sent already waits in its connection, within its limits.
	Pause
	// Consume takes data: none of it goes on but what the filter sends itself (Stream.Send). The head must
	// have gone on, or Send does it. From RequestTrailers and ResponseTrailers it is as Pause.
	Consume
)

// Side is one way through a stream.
type Side uint8

// Sides.
const (
	Request Side = iota
	Response
)

// Sees says which events a filter wants; the others pass it by at no cost. With Heads only, bodies may be
// moved by the kernel.
type Sees uint8

// Events.
const (
	RequestHead Sees = 1 << iota
	RequestBody      // data and trailers
	ResponseHead
	ResponseBody
	Everything = RequestHead | RequestBody | ResponseHead | ResponseBody
)

// Filter is one filter's instance for one stream. After a call of Stream.Reply the stream may be over: a
// filter returns then, with whatever status, and does nothing more.
type Filter interface {
	// RequestHead comes once, with the whole head in s.Request(), which the filter may change. end says
	// that neither data nor trailers follow.
	RequestHead(s Stream, end bool) Status
	// RequestData comes with each piece of the body, valid until it returns. The last has end set, and may
	// be empty, unless trailers follow.
	RequestData(s Stream, p []byte, end bool) Status
	// RequestTrailers comes last when there are some, in s.RequestTrailers().
	RequestTrailers(s Stream) Status
	// The same for the response, which may be a local reply: those pass every filter too, also filters that
	// have not seen the request.
	ResponseHead(s Stream, end bool) Status
	ResponseData(s Stream, p []byte, end bool) Status
	ResponseTrailers(s Stream) Status
	// Done is the end of the stream, whole or not, before the log line is written. The instance stops its
	// timers and makes itself ready for another stream.
	Done(s Stream)
}

// PassThrough is a Filter that does nothing, for others to embed.
type PassThrough struct{}

// RequestHead implements Filter.
func (PassThrough) RequestHead(Stream, bool) Status { return Continue }

// RequestData implements Filter.
func (PassThrough) RequestData(Stream, []byte, bool) Status { return Continue }

// RequestTrailers implements Filter.
func (PassThrough) RequestTrailers(Stream) Status { return Continue }

// ResponseHead implements Filter.
func (PassThrough) ResponseHead(Stream, bool) Status { return Continue }

// ResponseData implements Filter.
func (PassThrough) ResponseData(Stream, []byte, bool) Status { return Continue }

// ResponseTrailers implements Filter.
func (PassThrough) ResponseTrailers(Stream) Status { return Continue }

// Done implements Filter.
func (PassThrough) Done(Stream) {}

// Spec is a filter compiled for a chain. Immutable; all loops share it.
type Spec struct {
	Sees Sees
	// New makes an instance; called on a loop, and as often as the loop has that many streams at once.
	New func() Filter
	// CompileRoute makes the form of one typed_per_filter_config that Stream.RouteConfig returns. nil: the
	// filter has none, and one is an error. config is of package conf, or an embedder's own.
	CompileRoute func(config any) (any, error)
}

// Factory makes an embedder's filter for a chain that names it (conf.HTTPFilter.Name,
// proxy.Options.HTTPFilters). An error refuses the configuration. Called on any goroutine.
type Factory func(name string, d *Deps) (Spec, error)

// Deps are the process-wide parts that filters are compiled against.
type Deps struct {
	Registry *stats.Registry
	Runtime  *runtime.Loader // nil: defaults
	// StatPrefix is the connection manager's, with the word and dots around it: "http.ingress.".
	StatPrefix string
	// NodeCluster is the cluster of this node, Loops how many loops there are.
	NodeCluster string
	Loops       int
	// HealthFailed says whether /healthcheck/fail is in force; nil: never.
	HealthFailed func() bool
}

// Timer is a timer of a filter's instance; its Handler is set before it is armed.
type Timer = wheel.Timer

// Reply is a local reply. Zero fields are those of the reason's entry; the zero Reason is
// reason.FilterReply, whose status is 500.
type Reply struct {
	Reason reason.Reason
	Status uint16
	// Details replace the reason's, Body its body. Both must stay as they are until the stream is over.
	Details string
	Body    []byte
	// GRPC is the grpc-status of the reply to a gRPC request; empty: what the status maps to.
	GRPC string
	// ContentType of Body; empty: text/plain.
	ContentType string
}

// Stream is what a filter may ask of the stream it filters, given to each of its calls; the same value for
// an instance until Done. Only for use on the loop.
type Stream interface {
	// Request is the request head; Response the response's, nil until there is one. Changes of the response
	// head count until ResponseHead has passed the filter, those of the request head until RequestHead has.
	Request() *header.Head
	Response() *header.Head
	RequestTrailers() *header.Head
	ResponseTrailers() *header.Head
	// Info is what logs and formats read. Filters may set Flags.
	Info() *streaminfo.Info
	// Worker is the stream's loop: clock, statistics, random numbers.
	Worker() *worker.Worker
	// Route is the route found; ClearRoute has it looked up again before the router acts on it, by the
	// request head as the filters have left it.
	Route() *route.Result
	ClearRoute()
	// RouteConfig is the filter's own configuration of the route's most specific level that has one, as
	// Spec.CompileRoute made it; nil without any. RouteConfigs are those of every level that has one,
	// the least specific first; read-only.
	RouteConfig() any
	RouteConfigs() []any
	// Metadata is the stream's dynamic metadata, State its filter state.
	Metadata() *streaminfo.Metadata
	State() *streaminfo.FilterState
	// Destination is the authority of the request; that of a CONNECT with the port it came with, also where
	// that does not count for matching. Valid until the head changes.
	Destination() []byte

	// Continue lets a side go on that the filter had stopped with Buffer or Pause, with what is kept.
	// Nothing when the side was not stopped.
	Continue(side Side)
	// Kept is how much data the stream keeps for the filter on a side.
	Kept(side Side) int
	// SetLimit sets how much that may be, for Buffer; it is the connection's buffer limit else.
	SetLimit(side Side, bytes int)
	Limit(side Side) int
	// Send hands data on to the next filter, as if it had come: what a filter that consumes wants to pass on.
	// The end must be sent too.
	Send(side Side, p []byte, end bool)
	// Hold stops the sender of a side, or with false lets it go on, without a word on what is under way. For
	// filters that consume: data that is on its way may still come.
	Hold(side Side, on bool)
	// Reply answers in place of the upstream; once the response has begun it breaks the stream off.
	Reply(r Reply)

	// After arms a timer, Stop stops it; Stop is for any timer, armed or not.
	After(t *Timer, d time.Duration)
	Stop(t *Timer)
}

package frame

// Flags say what a frame is. The zero value are bytes to be dropped: what a protocol allows between
// messages and nobody needs.
type Flags uint16

const (
	// Header begins a message.
	Header Flags = 1 << iota
	// Common goes on with a message.
	Common
	// End is the last frame of its message; beside Header or Common, or alone without bytes (Finisher).
	End
	// OneWay, on the header of a request: there will be no response to wait for.
	OneWay
	// Close, on the header of a response: the connection it came on is not to be used again, and the
	// one it goes to ends when nothing else is under way (Envoy's DRAIN_CLOSE). On the header of a
	// request: the connection it came on ends so.
	Close
	// Push, on a frame of a server: it answers no request; it goes to the client of a bound connection,
	// and is dropped elsewhere.
	Push
	// Answer is a message for the codec itself (a heartbeat): Frame.Reply goes back where it came from
	// and nothing is forwarded.
	Answer
	// Sticky, on the header of a request: it changes the state of its connection, so it must not go over
	// one that other clients will use.
	Sticky
	// Refuse, on the header of a request: it must not be forwarded at all; Frame.Reason says why.
	Refuse
)

// Has says whether all of the flags are set.
func (f Flags) Has(all Flags) bool { return f&all == all }

// Frame is what a decoder found. Its byte slices are valid until the next call of the decoder, or until
// the bytes given to Next are gone.
type Frame struct {
	Flags Flags
	// ID tells the messages of a connection apart, for codecs that match by it; on every frame.
	ID uint64
	// Note is what else the response decoder, and AppendReply, have to know of a request. The request
	// decoder sets it with the header; before it asks a response decoder of a codec that does not match
	// by ID, the proxy sets it to that of the request whose response is due, and Awaited to true; when no
	// request waits, to 0 and false.
	Note    uint64
	Awaited bool

	// Host, Path and Method are a request's; what a protocol has not is empty.
	Host, Path, Method []byte
	// Code, 0 to 999, and Failed are a response's: its status for statistics, and whether it says that
	// the request failed.
	Code   uint16
	Failed bool

	// Bytes go out in place of those the frame was found in; nil: those. Owned by the decoder.
	Bytes []byte
	// Reply is what Answer sends back.
	Reply []byte
	// Reason is why a request is refused: one word in snake case.
	Reason string
}

// Decoder finds frames in the bytes of one direction of one connection. It keeps its place between calls
// but no bytes. Not safe for concurrent use.
type Decoder interface {
	// Next finds the next frame at the front of b and says how many bytes it has; 0 asks for more bytes:
	// the next b then begins with the same ones, and the time for them all is linear. f is zero but for
	// Note and Awaited. Any cut of the bytes into calls gives the same messages: the headers and the
	// bytes are the same, only common frames come in other pieces. An error ends the connection. Next
	// must not allocate in steady state.
	//
	// An Answer may have no bytes of its own (n == 0).
	Next(b []byte, f *Frame) (n int, err error)
	// Reset makes the decoder ready for another connection.
	Reset()
}

// Finisher is a Decoder of messages that may end with their connection.
type Finisher interface {
	// Finish is called in place of Next when no more bytes will come; b is what was not consumed. A
	// message that is complete so comes out with End, as one frame.
	Finish(b []byte, f *Frame) (n int, err error)
}

// Matching is how a response finds its request.
type Matching uint8

const (
	// OneByOne: a server is asked again only when its response has ended.
	OneByOne Matching = iota
	// InOrder: a server may be asked at once, its responses come in the order of the requests.
	InOrder
	// ByID: responses carry the request's ID and come in any order.
	ByID
)

// String returns the name.
func (m Matching) String() string { return [...]string{"one by one", "in order", "by id"}[m] }

// Status is why the proxy answers a request by itself.
type Status uint8

// The kinds of reasons.
const (
	NotFound Status = iota
	Unavailable
	DeadlineExceeded
	InvalidArgument
	Internal
)

// String returns the name.
func (s Status) String() string {
	return [...]string{"not found", "unavailable", "deadline exceeded", "invalid argument", "internal"}[s]
}

// Codec is one protocol with its options. Immutable; shared by all loops.
type Codec interface {
	// Protocol is its name, as logs print it.
	Protocol() string
	// Matching never changes.
	Matching() Matching
	// MaxBuffered is the most bytes a decoder may have to see before it finds a frame or fails.
	MaxBuffered() int
	// NewRequestDecoder makes the decoder of a client's connection, NewResponseDecoder that of a
	// server's.
	NewRequestDecoder() Decoder
	NewResponseDecoder() Decoder
	// AppendReply appends the whole response to a request for which there is no other: one message, of
	// which it returns the code. ID, Note and Method of request are set. When it appends nothing there is
	// no response, and the request is reset. No allocation but to grow dst.
	AppendReply(dst []byte, request *Frame, s Status, details string) (out []byte, code uint16)
}

// Properties are a Codec whose messages carry named values. head are the bytes of a header frame, as
// the decoder let them through; response says whose.
type Properties interface {
	// Property returns the first value of that name: a view.
	Property(head []byte, response bool, name string) (value []byte, ok bool)
	// VisitProperties calls f for each, in order, until it says false.
	VisitProperties(head []byte, response bool, f func(name, value []byte) bool)
}

// Editor is a Codec with Properties that can be changed.
type Editor interface {
	// AppendEdited appends head with the property set to value, or without it when erase is true. ok is
	// false, and dst as it was, when that cannot be.
	AppendEdited(dst, head []byte, response bool, name string, value []byte, erase bool) (out []byte, ok bool)
}

// Error is a decoder's complaint: a constant, so that failing allocates nothing.
type Error string

// Error returns the text.
func (e Error) Error() string { return string(e) }

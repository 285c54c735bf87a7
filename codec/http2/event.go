package http2

import "github.com/sluiceproxy/sluice/codec/header"

// Block says what a field block is.
type Block uint8

const (
	// HeadBlock: a request, or a response, interim ones included.
	HeadBlock Block = iota
	// TrailerBlock: the fields behind the data.
	TrailerBlock
)

// Events is what a Conn calls while it is fed or closed. Every call is made with the Conn in order: the
// owner may write, reset and release any stream from within, and Close, but must not Feed.
//
// A stream is known to the owner from HeadFor (servers) or Open (clients) until the owner releases it.
// It ends with an event that says end, or with OnReset; never with both, and nothing comes after.
type Events interface {
	// HeadFor returns where the next block of st is decoded: a head of the owner's, which is reset. What
	// follows is OnHeaders or OnTrailers with that head, or OnReset when the block is refused. From within,
	// nothing of the Conn may be called.
	HeadFor(st *Stream, b Block) *header.Head
	// OnHeaders brings a head. Its spans are valid until OnHeaders returns, or after Retain. end says that
	// neither data nor trailers follow. A client gets interim responses (1xx) in the same way, before the
	// final one.
	OnHeaders(st *Stream, h *header.Head, end bool)
	// OnData brings data, a view of what Feed was given; empty only with end. What has been dealt with
	// must be handed back by Conn.Consumed.
	OnData(st *Stream, p []byte, end bool)
	// OnTrailers brings trailers, which end the message.
	OnTrailers(st *Stream, t *header.Head)
	// OnReset ends a stream in both directions. With ErrPeerReset the code is the peer's.
	OnReset(st *Stream, code ErrCode, e Err)
	// OnWindow says that a stream whose WriteData took less than it was given may try again.
	OnWindow(st *Stream)
	// OnGoAway says that the peer takes no streams above last. Those of ours that are get OnReset with
	// ErrGoneAway afterwards.
	OnGoAway(last uint32, code ErrCode)
	// OnPong answers a Ping.
	OnPong(payload uint64)
	// OnSettings says that the peer's settings have been taken over: its stream limit, extended CONNECT.
	OnSettings()
	// OnCount adds one to a statistic.
	OnCount(n Counter)
}

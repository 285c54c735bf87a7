// Package frametest checks what package frame asks of every codec: any cut of the bytes into calls gives
// the same messages, no byte is lost, doubled or invented, and a decoder that asks for more bytes gets by
// with those its codec names.
package frametest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sluiceproxy/sluice/codec/frame"
)

// Message is what the frames of one message say together.
type Message struct {
	Flags              frame.Flags // of all frames; Common left out
	ID, Note           uint64
	Host, Path, Method string
	Code               uint16
	Failed             bool
	Reason             string
	// Bytes is what is forwarded, Wire what it was found in, Reply what is sent back.
	Bytes, Wire, Reply string
}

// String is for failures of tests.
func (m Message) String() string {
	return fmt.Sprintf("{%s id=%d note=%#x host=%q path=%q method=%q code=%d failed=%t %s wire=%q bytes=%q reply=%q}",
		names(m.Flags), m.ID, m.Note, m.Host, m.Path, m.Method, m.Code, m.Failed, m.Reason, short(m.Wire), short(m.Bytes), short(m.Reply))
}

func short(s string) string {
	if len(s) > 80 {
		return s[:60] + fmt.Sprintf("...(%d)", len(s))
	}
	return s
}

func names(f frame.Flags) string {
	var out []string
	for i, name := range []string{"header", "common", "end", "oneway", "close", "push", "answer", "sticky", "refuse"} {
		if f&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "dropped"
	}
	return strings.Join(out, "|")
}

// Run is a decoder at work.
type Run struct {
	Decoder frame.Decoder
	// Limit is the codec's MaxBuffered.
	Limit int
	// Due gives the note of the request whose response is next; nil: none waits.
	Due func(answered int) (note uint64, awaited bool)

	kept     []byte
	answered int
	Messages []Message
	open     [2]int // 1 + the message that has not ended; the second one is a push
	// Most is the most bytes that waited for more.
	Most int
}

// Feed gives the decoder more bytes. It returns the decoder's error, or one of its own when the decoder
// broke a promise.
func (r *Run) Feed(b []byte) error {
	r.kept = append(r.kept, b...)
	return r.drain(func(b []byte, f *frame.Frame) (int, error) { return r.Decoder.Next(b, f) })
}

// Finish says that no more bytes will come.
func (r *Run) Finish() error {
	fin, ok := r.Decoder.(frame.Finisher)
	if !ok {
		return nil
	}
	return r.one(fin.Finish)
}

func (r *Run) drain(next func([]byte, *frame.Frame) (int, error)) error {
	for {
		before, messages := len(r.kept), len(r.Messages)
		if err := r.one(next); err != nil {
			return err
		}
		if len(r.kept) == before && len(r.Messages) == messages {
			r.Most = max(r.Most, before)
			if r.Limit > 0 && before > r.Limit {
				return broken(fmt.Sprintf("asks for more than %d bytes", before))
			}
			return nil
		}
	}
}

// broken is a broken promise.
type broken string

func (b broken) Error() string { return "broken promise: " + string(b) }

// IsBroken says whether an error of Feed is about the decoder, not the bytes.
func IsBroken(err error) bool {
	_, ok := err.(broken)
	return ok
}

func (r *Run) one(next func([]byte, *frame.Frame) (int, error)) error {
	var f frame.Frame
	if r.Due != nil {
		f.Note, f.Awaited = r.Due(r.answered)
	}
	note := f.Note
	n, err := next(r.kept, &f)
	switch {
	case err != nil:
		return err
	case n < 0 || n > len(r.kept):
		return broken(fmt.Sprintf("%d bytes of %d", n, len(r.kept)))
	case n == 0 && f.Flags&^frame.Answer == 0 && f.Flags != frame.Answer:
		return nil
	case f.Flags.Has(frame.Header | frame.Common):
		return broken("header and common at once")
	}
	if r.Due != nil && f.Note == note {
		f.Note = 0
	}
	wire := r.kept[:n]
	out := wire
	if f.Bytes != nil {
		out = f.Bytes
	}
	if f.Flags&frame.Header == 0 && f.Flags&(frame.Common|frame.End) != 0 {
		at := r.open[pushed(f.Flags)]
		if at == 0 {
			return broken("a frame that goes on with nothing")
		}
		m := &r.Messages[at-1]
		m.Flags |= f.Flags &^ frame.Common
		m.Bytes += string(out)
		m.Wire += string(wire)
		m.Code, m.Failed = max(m.Code, f.Code), m.Failed || f.Failed
	} else {
		if f.Flags&frame.Header != 0 {
			if r.open[pushed(f.Flags)] != 0 {
				return broken("a message begins within another")
			}
			r.open[pushed(f.Flags)] = len(r.Messages) + 1
		}
		r.Messages = append(r.Messages, Message{
			Flags: f.Flags, ID: f.ID, Note: f.Note, Host: string(f.Host), Path: string(f.Path), Method: string(f.Method), Code: f.Code, Failed: f.Failed,
			Reason: f.Reason, Bytes: string(out), Wire: string(wire), Reply: string(f.Reply),
		})
		if f.Flags&frame.Header == 0 { // dropped, or answered
			r.Messages[len(r.Messages)-1].Bytes = ""
		}
	}
	if f.Flags.Has(frame.End) {
		r.open[pushed(f.Flags)] = 0
		if f.Flags&frame.Push == 0 {
			r.answered++
		}
	}
	r.kept = append(r.kept[:0:0], r.kept[n:]...) // elsewhere: what a decoder held on to would be stale
	return nil
}

func pushed(f frame.Flags) int {
	if f.Has(frame.Push) {
		return 1
	}
	return 0
}

// Left is what was fed and not consumed.
func (r *Run) Left() []byte { return r.kept }

// Whole returns the messages of data given at once, and the error that ended them.
func Whole(make func() *Run, data []byte) (*Run, error) {
	r := make()
	err := r.Feed(data)
	return r, err
}

// Cuts gives data to decoders in pieces that end at the given places, cycled, and says how the messages
// differ from those of data given at once. Empty: they do not. An error must come in both ways, but in
// pieces the messages before it may be fewer or unfinished.
func Cuts(make func() *Run, data []byte, sizes []int) string {
	whole, wholeErr := Whole(make, data)
	if IsBroken(wholeErr) {
		return wholeErr.Error()
	}
	pieces := make()
	var err error
	rest := data
	for i := 0; len(rest) > 0 && err == nil; i++ {
		k := 1
		if len(sizes) > 0 {
			k = max(1, min(sizes[i%len(sizes)], len(rest)))
		}
		err = pieces.Feed(rest[:k])
		rest = rest[k:]
	}
	switch {
	case IsBroken(err):
		return err.Error()
	case (err == nil) != (wholeErr == nil):
		return fmt.Sprintf("at once: %v; in pieces: %v", wholeErr, err)
	case err != nil && err.Error() != wholeErr.Error():
		return fmt.Sprintf("at once: %v; in pieces: %v", wholeErr, err)
	}
	n := min(len(whole.Messages), len(pieces.Messages))
	if err == nil && len(whole.Messages) != len(pieces.Messages) {
		return fmt.Sprintf("%d messages at once: %v\n%d in pieces: %v", len(whole.Messages), whole.Messages, len(pieces.Messages), pieces.Messages)
	}
	for i := range n {
		a, b := whole.Messages[i], pieces.Messages[i]
		if err != nil && i == n-1 {
			break // may lack its end
		}
		if a != b {
			return fmt.Sprintf("message %d at once: %v\nin pieces: %v", i, a, b)
		}
	}
	return ""
}

// Wires says how the bytes of the messages and what is left differ from data: nothing may be lost.
func (r *Run) Wires(data []byte) string {
	var b bytes.Buffer
	for i := range r.Messages {
		b.WriteString(r.Messages[i].Wire)
	}
	b.Write(r.kept)
	if !bytes.Equal(b.Bytes(), data) {
		return fmt.Sprintf("the messages hold %q, the bytes were %q", b.Bytes(), data)
	}
	return ""
}

package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluiceproxy/sluice/codec/header"
)

// came is what came on one stream: the texts of its field blocks, its data, and its end.
type came struct {
	blocks []string
	data   []byte
	ended  bool
	reset  bool
}

// taking is an owner that gathers messages.
type taking struct {
	*owner
	messages map[uint32]*came
}

func cameOn(m map[uint32]*came, id uint32) *came {
	if m[id] == nil {
		m[id] = new(came)
	}
	return m[id]
}

// HeadFor implements Events.
func (w *taking) HeadFor(st *Stream, b Block) *header.Head { return w.owner.HeadFor(st, b) }

// OnHeaders implements Events.
func (w *taking) OnHeaders(st *Stream, h *header.Head, end bool) {
	m := cameOn(w.messages, st.ID())
	text := fmt.Sprintf(":method=%s :scheme=%s :path=%s :authority=%s", h.Bytes(h.MethodText), h.Bytes(h.Scheme), h.Bytes(h.Path), h.Bytes(h.Authority))
	m.blocks = append(m.blocks, text+fieldsOf(h))
	m.ended = end
}

// OnData implements Events.
func (w *taking) OnData(st *Stream, p []byte, end bool) {
	m := cameOn(w.messages, st.ID())
	m.data = append(m.data, p...)
	m.ended = end
	w.c.Consumed(st, len(p))
}

// OnTrailers implements Events.
func (w *taking) OnTrailers(st *Stream, t *header.Head) {
	m := cameOn(w.messages, st.ID())
	m.blocks = append(m.blocks, fieldsOf(t))
	m.ended = true
}

// OnReset implements Events.
func (w *taking) OnReset(st *Stream, _ ErrCode, _ Err) { cameOn(w.messages, st.ID()).reset = true }

// changes says which fields are joined or dropped on the way.
func changes(name string) bool { return name == "cookie" || name == "host" }

// fieldsOf is the regular fields of a head that came, but for those.
func fieldsOf(h *header.Head) (out string) {
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Dead && !changes(string(h.NameOf(f))) {
			out += fmt.Sprintf(" %s=%s", h.NameOf(f), h.Bytes(f.Value))
		}
	}
	return out
}

// blockText is what taking makes of the same fields.
func blockText(fields []hpack.HeaderField, first bool) string {
	pseudo := map[string]string{}
	rest := ""
	for _, f := range fields {
		switch {
		case f.IsPseudo():
			pseudo[f.Name] = f.Value
		case !changes(f.Name):
			rest += fmt.Sprintf(" %s=%s", f.Name, f.Value)
		}
	}
	if !first {
		return rest
	}
	return fmt.Sprintf(":method=%s :scheme=%s :path=%s :authority=%s", pseudo[":method"], pseudo[":scheme"], pseudo[":path"], pseudo[":authority"]) + rest
}

// asked is what the oracle makes of in, frame by frame, and where it gave up with what error: an io error
// means that the input ended.
func asked(in []byte) (messages map[uint32]*came, err error) {
	messages = map[uint32]*came{}
	r := bytes.NewReader(in)
	f := http2.NewFramer(io.Discard, r)
	f.SetMaxReadFrameSize(maxFrame)
	dec := hpack.NewDecoder(4096, nil)
	var block []byte
	end := false
	finish := func(id uint32) error {
		fields, err := dec.DecodeFull(block)
		m := cameOn(messages, id)
		m.blocks = append(m.blocks, blockText(fields, len(m.blocks) == 0))
		m.ended = m.ended || end
		return err
	}
	for {
		frame, err := f.ReadFrame()
		var one http2.StreamError
		if errors.As(err, &one) {
			continue // of one stream: the frames behind it are read all the same
		}
		if err != nil {
			return messages, err
		}
		switch frame := frame.(type) {
		case *http2.DataFrame:
			m := cameOn(messages, frame.StreamID)
			m.data = append(m.data, frame.Data()...)
			m.ended = m.ended || frame.StreamEnded()
		case *http2.HeadersFrame:
			block, end = slices.Clone(frame.HeaderBlockFragment()), frame.StreamEnded()
			if frame.HeadersEnded() {
				err = finish(frame.StreamID)
			}
		case *http2.ContinuationFrame:
			if block = append(block, frame.HeaderBlockFragment()...); frame.HeadersEnded() {
				err = finish(frame.StreamID)
			}
		}
		if err != nil {
			return messages, err
		}
	}
}

// wholeFrames is the front of in that is whole frames: of the last one we pass on what has come, and the
// oracle waits for the rest. Of one that is too large the header says so. PRIORITY_UPDATE, which the
// oracle checks and we ignore (RFC 9218 7.1), becomes a type that nobody knows.
func wholeFrames(in []byte) []byte {
	const priorityUpdate = 0x10
	in = slices.Clone(in)
	n := 0
	for len(in)-n >= frameHeaderLen {
		size := int(parseFrame(in[n:]).length)
		if in[n+3] == priorityUpdate {
			in[n+3]++
		}
		if size > maxFrame {
			return in[:n+frameHeaderLen]
		}
		if len(in)-n < frameHeaderLen+size {
			break
		}
		n += frameHeaderLen + size
	}
	return in[:n]
}

// FuzzFramesAgainstOracle reads frames as a server, and with x/net's framer and decoder. What one calls an
// error of the connection the other may not pass over, and the messages that come through must be those
// that the oracle sees. We are the stricter one: it does not know the states of streams, nor the rules for
// fields.
func FuzzFramesAgainstOracle(f *testing.F) {
	p := newPeer(f)
	for _, lines := range [][]string{
		{"headers 1 end get", "headers 3 post", "data 3 end abc", "ping", "settings 4=100", "window 0 5"},
		{"headers 1 more post", "cont 1 x-a=b", "padded 1 7 abc", "headers 1 end x-sum=1", "reset 1 8", "goaway 0 0"},
		{"headers 1 post content-length=3", "data 1 ab", "raw 0 1 1 63", "headers 3 end get cookie=a cookie=b", "priority 5", "raw 99 0 1 0102"},
		{"headers 1 post", "raw 8 0 1 00000000", "data 1 abc", "push 1 2"},
		{"raw 4 0 0 0005000000010000"}, {"raw 4 1 0 000500000001"}, {"raw 6 0 0 00"}, {"raw 7 0 1 0000000000000000"}, {"raw 3 0 1 00"}, {"raw 2 0 1 00"}, {"raw 1 40 1 0500"},
		{"headers 1 more get", "ping"}, {"cont 1 x-a=b"}, {"headers 1 more get", "cont 3 x-a=b"},
	} {
		f.Add(p.frames(lines...), false)
	}
	f.Add([]byte("\x0a\x00\x01\x01\x00\x00\x01\x03abc\x00\x01\x01\x00\x0b\x01\x03\x00\x06\x00\x00\x00\x08\x00\x01\x01\xff"), true)
	f.Fuzz(func(t *testing.T, in []byte, shaped bool) {
		if shaped {
			in = framesOf(newPeer(t), in)
		}
		w := &taking{owner: newOwner(false, func(o *Options) {
			o.StreamErrorOnInvalidMessage, o.AllowConnect = true, true
			o.PrematureResetTotal, o.MaxConsecutiveEmptyFrames, o.MaxConcurrentStreams = 0, 1<<30, 1<<30
			o.MaxPriorityFramesPerStream, o.MaxWindowUpdatesPerDataFrame = 1<<30, 1<<30
			o.MaxRequestsPerFeed = 0
		}), messages: map[uint32]*came{}}
		w.c.Init(false, &w.o, &w.ws, w)
		if _, e := w.c.Feed(newPeer(t).frames("preface", "settings")); e != OK {
			t.Fatal(e.Explain())
		}
		in = wholeFrames(in)
		_, e := w.c.Feed(in)
		want, err := asked(in)
		ended := errors.Is(err, io.EOF)
		if !ended && e == OK {
			t.Fatalf("the oracle says %v, and we go on", err)
		}
		for id, got := range w.messages {
			o := cameOn(want, id)
			if len(got.blocks) > len(o.blocks) || !slices.Equal(got.blocks, o.blocks[:len(got.blocks)]) {
				t.Fatalf("stream %d has the blocks\n%q, by the oracle\n%q", id, got.blocks, o.blocks)
			}
			if !bytes.HasPrefix(o.data, got.data) {
				t.Fatalf("stream %d has the data %q, by the oracle %q", id, got.data, o.data)
			}
			// What the oracle read to its end is whole here too, unless we refused something.
			if ended && e == OK && !got.reset && len(got.blocks) > 0 && (got.ended != o.ended || len(got.data) != len(o.data)) {
				t.Fatalf("stream %d: ended %v with %d bytes, by the oracle %v with %d", id, got.ended, len(got.data), o.ended, len(o.data))
			}
		}
	})
}

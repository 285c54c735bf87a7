package http2

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"golang.org/x/net/http2/hpack"
)

// owner records the events of a Conn as lines, and acts on them where a test says so.
type owner struct {
	c       Conn
	ws      Workspace
	o       Options
	log     []string
	counts  [NumCounters]int
	streams map[uint32]*Stream

	onHeaders func(st *Stream, h *header.Head, end bool)
	onData    func(st *Stream, p []byte, end bool)
	onWindow  func(st *Stream)
	onReset   func(st *Stream)
	// keep makes data stay unconsumed.
	keep bool
}

func newOwner(client bool, change func(o *Options)) *owner {
	w := &owner{o: DefaultOptions(), streams: map[uint32]*Stream{}}
	if change != nil {
		change(&w.o)
	}
	w.c.Init(client, &w.o, &w.ws, w)
	return w
}

func (w *owner) add(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

func (w *owner) HeadFor(st *Stream, _ Block) *header.Head {
	w.streams[st.ID()] = st
	return new(header.Head)
}

func fieldsText(h *header.Head) (out string) {
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Dead {
			out += fmt.Sprintf(" %s=%s", h.NameOf(f), h.Bytes(f.Value))
		}
	}
	return out
}

func endText(end bool) string {
	if end {
		return " end"
	}
	return ""
}

func (w *owner) OnHeaders(st *Stream, h *header.Head, end bool) {
	if h.Status != 0 {
		w.add("head %d %d%s%s", st.ID(), h.Status, fieldsText(h), endText(end))
	} else {
		w.add("head %d %s %s://%s%s%s%s", st.ID(), h.Bytes(h.MethodText), h.Bytes(h.Scheme), h.Bytes(h.Authority), h.Bytes(h.Path), fieldsText(h), endText(end))
	}
	if w.onHeaders != nil {
		w.onHeaders(st, h, end)
	}
}

func (w *owner) OnData(st *Stream, p []byte, end bool) {
	w.add("data %d %s%s", st.ID(), p, endText(end))
	if !w.keep {
		w.c.Consumed(st, len(p))
	}
	if w.onData != nil {
		w.onData(st, p, end)
	}
}

func (w *owner) OnTrailers(st *Stream, t *header.Head) {
	w.add("trailers %d%s", st.ID(), fieldsText(t))
}

func (w *owner) OnReset(st *Stream, code ErrCode, e Err) {
	who := "ours"
	if e == ErrPeerReset {
		who = "theirs"
	}
	w.add("reset %d %s %s", st.ID(), code, who)
	if w.onReset != nil {
		w.onReset(st)
	}
}

func (w *owner) OnWindow(st *Stream) {
	w.add("window %d", st.ID())
	if w.onWindow != nil {
		w.onWindow(st)
	}
}
func (w *owner) OnGoAway(last uint32, code ErrCode) { w.add("goaway %d %s", last, code) }
func (w *owner) OnPong(payload uint64)              { w.add("pong %d", payload) }
func (w *owner) OnSettings()                        {}
func (w *owner) OnCount(n Counter)                  { w.counts[n]++ }

func (w *owner) takeLog() string {
	s := strings.Join(w.log, "; ")
	w.log = nil
	return s
}

// peer is the other side: it writes frames from lines of text and reads ours back into such lines, with
// its own frame code and the oracle's HPACK.
type peer struct {
	t   testing.TB
	buf []byte
	hb  bytes.Buffer
	enc *hpack.Encoder
	dec *hpack.Decoder
}

func newPeer(t testing.TB) *peer {
	p := &peer{t: t}
	p.enc = hpack.NewEncoder(&p.hb)
	p.dec = hpack.NewDecoder(4096, nil)
	p.dec.SetAllowedMaxDynamicTableSize(1 << 16)
	return p
}

var shorthands = map[string]string{
	"get":  ":method=GET :scheme=https :path=/ :authority=a.b",
	"post": ":method=POST :scheme=https :path=/ :authority=a.b",
	"200":  ":status=200",
}

// block encodes words "name=value"; %xx stands for any byte.
func (p *peer) block(words []string) []byte {
	p.hb.Reset()
	for _, word := range words {
		name, value, _ := strings.Cut(word[1:], "=")
		name, e1 := url.PathUnescape(word[:1] + name)
		value, e2 := url.PathUnescape(value)
		if e := errors.Join(e1, e2, p.enc.WriteField(hpack.HeaderField{Name: name, Value: value})); e != nil {
			p.t.Fatal(e)
		}
	}
	return slices.Clone(p.hb.Bytes())
}

func (p *peer) number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		p.t.Fatalf("%q is not a number", s)
	}
	return uint32(n)
}

// frames turns lines such as "headers 1 end get x-a=b" into bytes: the type, the stream, flags, and what
// the type needs.
func (p *peer) frames(lines ...string) []byte {
	p.buf = nil
	for _, line := range lines {
		p.frame(line)
	}
	return p.buf
}

func (p *peer) put(typ, flags byte, stream uint32, payload ...byte) {
	n := len(payload)
	p.buf = append(p.buf, byte(n>>16), byte(n>>8), byte(n), typ, flags)
	p.buf = binary.BigEndian.AppendUint32(p.buf, stream)
	p.buf = append(p.buf, payload...)
}

func (p *peer) frame(line string) {
	for short, long := range shorthands {
		line = strings.ReplaceAll(line+" ", " "+short+" ", " "+long+" ")
	}
	w := strings.Fields(line)
	kind, w := w[0], w[1:]
	flag := func(name string, bit byte) byte {
		if len(w) > 0 && w[0] == name {
			w = w[1:]
			return bit
		}
		return 0
	}
	four := func(s string) []byte { return binary.BigEndian.AppendUint32(nil, p.number(s)) }
	switch kind {
	case "preface":
		p.buf = append(p.buf, Preface...)
		return
	case "settings":
		ack, payload := flag("ack", 1), []byte(nil)
		for _, s := range w {
			id, v, _ := strings.Cut(s, "=")
			payload = append(binary.BigEndian.AppendUint16(payload, uint16(p.number(id))), four(v)...)
		}
		p.put(4, ack, 0, payload...)
		return
	case "raw": // type, flags, stream, payload in hexadecimal
		payload, err := hex.DecodeString(strings.Join(w[3:], ""))
		if err != nil {
			p.t.Fatal(err)
		}
		p.put(byte(p.number(w[0])), byte(p.number(w[1])), p.number(w[2]), payload...)
		return
	case "ping":
		p.put(6, flag("ack", 1), 0, 0, 0, 0, 0, 0, 0, 0, 7)
		return
	case "goaway":
		p.put(7, 0, 0, append(append(four(w[0]), four(w[1])...), "why"...)...)
		return
	}
	id := p.number(w[0])
	w = w[1:]
	switch kind {
	case "headers":
		flags := flag("end", 1)
		flags |= 4 ^ flag("more", 4)
		p.put(1, flags, id, p.block(w)...)
	case "cont":
		p.put(9, 4^flag("more", 4), id, p.block(w)...)
	case "data":
		end := flag("end", 1)
		text := strings.Join(w, " ")
		if n, c, ok := strings.Cut(text, "*"); ok {
			text = strings.Repeat(c, int(p.number(n)))
		}
		p.put(0, end, id, []byte(text)...)
	case "padded":
		end := flag("end", 1)
		pad := p.number(w[0])
		p.put(0, end|8, id, append(append([]byte{byte(pad)}, strings.Join(w[1:], " ")...), make([]byte, pad)...)...)
	case "priority":
		p.put(2, 0, id, 0, 0, 0, 0, 15)
	case "reset":
		p.put(3, 0, id, four(w[0])...)
	case "window":
		p.put(8, 0, id, four(w[0])...)
	case "push":
		p.put(5, 4, id, four(w[0])...)
	default:
		p.t.Fatalf("no such frame: %q", line)
	}
}

// read turns what the Conn has written into lines of the same kind.
func (p *peer) read(b []byte) string {
	b = bytes.TrimPrefix(b, []byte(Preface))
	var out []string
	var block []byte
	for len(b) > 0 {
		n := 0
		if len(b) >= 9 {
			n = 9 + int(b[0])<<16 + int(b[1])<<8 + int(b[2])
		}
		if n == 0 || len(b) < n || n > 9+16384 {
			p.t.Fatalf("output is not frames behind %v: %x", out, b[:min(len(b), 40)])
		}
		typ, flags, id, payload := b[3], b[4], binary.BigEndian.Uint32(b[5:]), b[9:n]
		b = b[n:]
		word := func(i int) uint32 { return binary.BigEndian.Uint32(payload[i:]) }
		end := endText(flags&1 != 0)
		if block != nil && typ != 9 {
			p.t.Fatalf("frame of type %d inside a block", typ)
		}
		switch typ {
		case 0:
			text := string(payload)
			if len(text) > 20 {
				text = fmt.Sprintf("%d bytes", len(text))
			}
			out = append(out, fmt.Sprintf("data %d%s %s", id, end, text))
		case 1, 9:
			if typ == 1 {
				out = append(out, fmt.Sprintf("headers %d%s", id, end))
			}
			if block = append(block, payload...); flags&4 == 0 {
				continue
			}
			fields, err := p.dec.DecodeFull(block)
			if err != nil {
				p.t.Fatalf("block %x: %v", block, err)
			}
			for _, f := range fields {
				out[len(out)-1] += " " + f.Name + "=" + f.Value
			}
			block = nil
		case 3:
			out = append(out, fmt.Sprintf("reset %d %s", id, ErrCode(word(0))))
		case 4:
			s := "settings"
			if flags&1 != 0 {
				s += " ack"
			}
			for i := 0; i < len(payload); i += 6 {
				s += fmt.Sprintf(" %d=%d", binary.BigEndian.Uint16(payload[i:]), word(i+2))
			}
			out = append(out, s)
		case 6:
			out = append(out, fmt.Sprintf("ping%s %d", map[byte]string{1: " ack"}[flags], word(4)))
		case 7:
			out = append(out, fmt.Sprintf("goaway %d %s", word(0), ErrCode(word(4))))
		case 8:
			out = append(out, fmt.Sprintf("window %d %d", id, word(0)))
		default:
			p.t.Fatalf("frame of type %d", typ)
		}
	}
	if block != nil {
		p.t.Fatal("a block without its end")
	}
	return strings.Join(out, "; ")
}

// taken returns the output as lines and empties it.
func (w *owner) taken(p *peer) string {
	s := p.read(w.c.Output())
	w.c.Taken(0)
	return s
}

// begin does the handshake and forgets about it.
func begin(t testing.TB, client bool, change func(o *Options)) (*owner, *peer) {
	t.Helper()
	w, p := newOwner(client, change), newPeer(t)
	first := []string{"settings", "settings ack"}
	if !client {
		first = append([]string{"preface"}, first...)
	}
	b := p.frames(first...)
	if n, e := w.c.Feed(b); n != len(b) || e != OK {
		t.Fatalf("handshake: %d of %d, %s", n, len(b), e.Explain())
	}
	w.taken(p)
	w.takeLog()
	return w, p
}

// feed gives bytes to the Conn until it uses them up.
func (w *owner) feed(t testing.TB, b []byte) Err {
	t.Helper()
	n, e := w.c.Feed(b)
	if e == OK && n != len(b) {
		t.Fatalf("%d of %d bytes used", n, len(b))
	}
	return e
}

// headOf makes a head from words: "GET https a.b /p name=value", or "200 name=value".
func headOf(words string) *header.Head {
	h := new(header.Head)
	h.Reset(nil)
	w := strings.Fields(words)
	if n, err := strconv.Atoi(w[0]); err == nil {
		h.Status = uint16(n)
		w = w[1:]
	} else if len(w) >= 4 && !strings.Contains(w[0], "=") {
		h.SetMethod(header.MethodOf([]byte(w[0])), w[0])
		h.SetScheme(w[1])
		h.SetAuthority([]byte(w[2]))
		h.SetPath([]byte(w[3]))
		w = w[4:]
	}
	for _, f := range w {
		name, value, _ := strings.Cut(f, "=")
		id := header.Lookup([]byte(name))
		h.AddBytes(id, []byte(name), []byte(value))
		if id == header.ContentLength {
			h.ContentLength = header.ParseLength([]byte(value))
		}
		h.HasUpgrade = h.HasUpgrade || id == header.Upgrade
	}
	return h
}

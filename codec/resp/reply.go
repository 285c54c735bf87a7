package resp

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/frame"
)

// scanner finds the end of one value, whatever is nested in it.
type scanner struct {
	counts [maxDepth]int64 // elements to come, by level
	attrs  uint64          // levels that are attributes: they are followed by what they are about
	depth  int
	left   int64 // bytes of a bulk to come, its CRLF included
	inLine bool  // within a line of text
	cr     bool  // its last byte was CR
	top    byte  // the type of the value itself, behind its attributes
}

// run takes as much of the value as b has. done says that the value is complete.
func (s *scanner) run(b []byte) (n int, done bool, err error) {
	for n < len(b) {
		switch {
		case s.left > 0:
			k := int(min(s.left, int64(len(b)-n)))
			if !tailOK(b[n:n+k], s.left) {
				return n, false, errEnd
			}
			n += k
			if s.left -= int64(k); s.left > 0 {
				return n, false, nil
			}
		case s.inLine:
			k, ended, ok := s.line(b[n:])
			if !ok {
				return n, false, errEnd
			}
			n += k
			if !ended {
				return n, false, nil
			}
		default:
			k, complete, e := s.begin(b[n:])
			if e != nil || k == 0 {
				return n, false, e
			}
			n += k
			if !complete {
				continue
			}
		}
		if s.elementDone() {
			return n, true, nil
		}
	}
	return n, false, nil
}

// line passes text up to its CRLF.
func (s *scanner) line(b []byte) (n int, ended, ok bool) {
	if s.cr {
		s.cr = false
		if b[0] != '\n' {
			return 0, false, false
		}
		s.inLine = false
		return 1, true, true
	}
	i := bytes.IndexByte(b, '\r')
	switch {
	case i < 0:
		return len(b), false, bytes.IndexByte(b, '\n') < 0
	case bytes.IndexByte(b[:i], '\n') >= 0:
		return 0, false, false
	case i+1 == len(b):
		s.cr = true
		return i + 1, false, true
	case b[i+1] != '\n':
		return 0, false, false
	}
	s.inLine = false
	return i + 2, true, true
}

// begin reads the beginning of an element; n is 0 when that needs more bytes, complete says that it was
// all of it.
func (s *scanner) begin(b []byte) (n int, complete bool, err error) {
	per := int64(1)
	if s.depth == 0 {
		s.top = b[0]
	}
	switch b[0] {
	case '+', '-', ':', '_', '#', ',', '(':
		s.inLine = true
		return 1, false, nil
	case '$', '!', '=':
		size, n := length(b[1:])
		switch {
		case n == lineMore:
			return 0, false, nil
		case n == lineBad:
			return 0, false, errLength
		case size > maxBulk:
			return 0, false, errBulk
		case size < 0:
			return 1 + n, true, nil
		}
		s.left = size + 2
		return 1 + n, false, nil
	case '%', '|':
		per = 2
	case '*', '~', '>':
	default:
		return 0, false, errType
	}
	count, n := length(b[1:])
	switch {
	case n == lineMore:
		return 0, false, nil
	case n == lineBad:
		return 0, false, errLength
	case s.depth == maxDepth:
		return 0, false, errDepth
	case count <= 0:
		return 1 + n, b[0] != '|', nil
	case count > 1<<32:
		return 0, false, errArgs
	}
	s.counts[s.depth] = count * per
	if b[0] == '|' {
		s.attrs |= 1 << s.depth
	} else {
		s.attrs &^= 1 << s.depth
	}
	s.depth++
	return 1 + n, false, nil
}

// elementDone counts an element, and those that it completes; true when that was the whole value.
func (s *scanner) elementDone() bool {
	for s.depth > 0 {
		top := s.depth - 1
		if s.counts[top]--; s.counts[top] > 0 {
			return false
		}
		s.depth = top
		if s.attrs&(1<<top) != 0 {
			return false // what it is about comes now
		}
	}
	return true
}

// replyDecoder reads what a server sends.
type replyDecoder struct {
	scan  scanner
	in    bool // within a value
	push  bool // that answers nobody
	began bool // the response that is due has its header out
	// confirmed counts the confirmations of the request that waits, of which wanted are due.
	confirmed, wanted int
	final             bool // the value is the last one of its response
	// What the connection is subscribed to, and whether it monitors.
	channels, patterns, shards int64
	monitors                   bool
}

// Reset implements frame.Decoder.
func (d *replyDecoder) Reset() { *d = replyDecoder{} }

// Next implements frame.Decoder.
func (d *replyDecoder) Next(b []byte, f *frame.Frame) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	flags := frame.Common
	if !d.in {
		ok, err := d.begin(b, f)
		if !ok || err != nil {
			return 0, err
		}
		if d.push || !d.began {
			flags = frame.Header
		}
	}
	n, done, err := d.scan.run(b)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, nil
	}
	d.in = !done
	f.Flags = flags
	if d.scan.top == '-' || d.scan.top == '!' {
		f.Failed, f.Code = true, 1
	}
	last := done && d.final
	if last {
		f.Flags |= frame.End
	}
	if d.push {
		f.Flags |= frame.Push
		return n, nil
	}
	if d.began = !last; last {
		d.confirmed, d.wanted = 0, 0
	}
	return n, nil
}

// begin decides what the value is that starts in b; not ok: more bytes are needed.
func (d *replyDecoder) begin(b []byte, f *frame.Frame) (ok bool, err error) {
	note := f.Note & 0xff
	d.push, d.final = false, true
	switch b[0] {
	case '+':
		if d.monitors || note == noteMonitor || note == noteReset {
			return d.monitorLine(b, note), nil
		}
	case '>':
		return d.classify(b, f)
	case '*':
		if !f.Awaited || note >= noteSubscribe && note <= noteSUnsubscribe || d.channels+d.patterns+d.shards > 0 {
			return d.classify(b, f)
		}
	}
	return true, nil
}

// monitorLine looks at a simple string while the connection monitors, or is asked to begin or to stop.
func (d *replyDecoder) monitorLine(b []byte, note uint64) (ok bool) {
	if len(b) < 2 {
		return false
	}
	switch {
	case d.monitors && '0' <= b[1] && b[1] <= '9': // +<time> ...
		d.push = true
	case note == noteMonitor && b[1] == 'O': // not +QUEUED
		d.monitors = true
	case note == noteReset && b[1] == 'R':
		d.monitors, d.channels, d.patterns, d.shards = false, 0, 0, 0
	}
	return true
}

// kinds are the first elements of what channels bring, with the note of the command they confirm.
var kinds = map[string]uint64{
	"message": noteOnce, "pmessage": noteOnce, "smessage": noteOnce,
	"subscribe": noteSubscribe, "unsubscribe": noteUnsubscribe, "psubscribe": notePSubscribe, "punsubscribe": notePUnsubscribe,
	"ssubscribe": noteSSubscribe, "sunsubscribe": noteSUnsubscribe,
}

// maxKind bounds what the first two lines of a message from a channel have.
const maxKind = 64

// classify tells messages and confirmations of channels from replies.
func (d *replyDecoder) classify(b []byte, f *frame.Frame) (ok bool, err error) {
	d.push = b[0] == '>'
	count, n := length(b[1:])
	switch {
	case n == lineMore:
		return false, nil
	case n == lineBad:
		return false, errLength
	case count <= 0:
		return true, nil
	}
	at := 1 + n
	if at >= len(b) {
		return false, nil
	}
	if b[at] != '$' && b[at] != '+' {
		return true, nil
	}
	word, whole := d.word(b[at:])
	if !whole {
		return len(b)-at > maxKind, nil
	}
	kind, known := kinds[string(word)]
	switch {
	case !known:
		return true, nil
	case kind == noteOnce:
		d.push = d.push || d.channels+d.patterns+d.shards > 0 || !f.Awaited
		return true, nil
	}
	return d.confirmation(b, f, kind)
}

// word returns a bulk or a simple string at the front of b.
func (d *replyDecoder) word(b []byte) (word []byte, whole bool) {
	if b[0] == '+' {
		end := bytes.IndexByte(b, '\r')
		if end < 0 {
			return nil, false
		}
		return b[1:end], true
	}
	size, n := length(b[1:])
	if n < 0 || size < 0 || size > maxKind {
		return nil, n == lineBad || n > 0
	}
	end := 1 + n + int(size)
	if end > len(b) {
		return nil, false
	}
	return b[1+n : end], true
}

// confirmation takes one of a (un)subscription: it must be there whole, since its last element says how
// many there are now.
func (d *replyDecoder) confirmation(b []byte, f *frame.Frame, kind uint64) (ok bool, err error) {
	var whole scanner
	n, done, err := whole.run(b)
	switch {
	case err != nil:
		return false, err
	case n > maxHead || !done && len(b) >= maxHead:
		return false, errConfirm
	case !done:
		return false, nil
	}
	count, digits := int64(0), bytes.LastIndexByte(b[:n], ':')
	if digits < 0 {
		return false, errConfirm
	}
	count, used := length(b[digits+1 : n])
	if used != n-digits-1 {
		return false, errConfirm
	}
	answers := f.Awaited && f.Note&0xff == kind
	if answers {
		d.push = false
		if d.confirmed == 0 {
			d.wanted = d.due(f.Note)
		}
		d.confirmed++
		d.final = d.confirmed >= d.wanted
	} else {
		d.push = true
	}
	switch kind {
	case noteSubscribe, noteUnsubscribe:
		d.channels = max(0, count-d.patterns)
	case notePSubscribe, notePUnsubscribe:
		d.patterns = max(0, count-d.channels)
	default:
		d.shards = count
	}
	return true, nil
}

// due is how many confirmations a request has to get: one for each argument, and for an unsubscription
// without arguments one for each subscription, or one to say that there is none.
func (d *replyDecoder) due(note uint64) int {
	if n := int(note >> 8); n > 0 {
		return n
	}
	n := int64(1)
	switch note & 0xff {
	case noteUnsubscribe:
		n = d.channels
	case notePUnsubscribe:
		n = d.patterns
	case noteSUnsubscribe:
		n = d.shards
	}
	return int(max(1, n))
}

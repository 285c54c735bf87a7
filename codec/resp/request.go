package resp

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/frame"
)

// requestState is what a requestDecoder expects next.
type requestState uint8

const (
	atRequest  requestState = iota // the first byte of a request
	inHead                         // arguments, until it is known what to route by
	inInline                       // the end of an inline command
	atArgument                     // the length of an argument, the header being out
	inArgument                     // its bytes
)

// span is a part of the bytes that the head began with.
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// requestDecoder reads what a client sends.
//
//	atRequest  "*" -> inHead      else -> inInline     empty, "*0", "*-1": dropped
//	inHead     all arguments -> header and end         what to route by -> header, atArgument or inArgument
//	inInline   line end -> header and end
//	atArgument length -> inArgument                    inArgument: its end -> atArgument, the last one's -> end
type requestDecoder struct {
	state requestState
	// While in the head: pos bytes were looked at, args of argc arguments are whole, kept holds the first
	// ones; keyAt is the argument that is the key, 0 while unknown, negative when there is none.
	pos   int
	argc  int
	args  int
	kept  [4]span
	last  span
	keyAt int
	key   span
	cmd   command
	name  [maxName]byte
	named int

	left int64 // bytes of the argument to come, its CRLF included
}

// Reset implements frame.Decoder.
func (d *requestDecoder) Reset() { *d = requestDecoder{} }

// Next implements frame.Decoder.
func (d *requestDecoder) Next(b []byte, f *frame.Frame) (int, error) {
	switch d.state {
	case inHead:
		return d.head(b, f)
	case inInline:
		return d.inline(b, f)
	case atArgument, inArgument:
		return d.rest(b, f)
	}
	if len(b) == 0 {
		return 0, nil
	}
	d.pos, d.args, d.keyAt, d.named = 0, 0, 0, 0
	if b[0] != '*' {
		d.state = inInline
		return d.inline(b, f)
	}
	argc, n := length(b[1:])
	switch {
	case n == lineMore:
		return 0, nil
	case n == lineBad:
		return 0, errLength
	case argc > maxArgs:
		return 0, errArgs
	case argc <= 0:
		return 1 + n, nil
	}
	d.argc, d.pos = int(argc), 1+n
	d.state = inHead
	return d.head(b, f)
}

// head reads arguments until it is clear what the request is routed by, and as many more as there are.
func (d *requestDecoder) head(b []byte, f *frame.Frame) (int, error) {
	for d.args < d.argc && !d.known() {
		arg, n, err := d.argument(b[d.pos:])
		if err != nil {
			return 0, err
		}
		if n == 0 {
			if len(b) >= maxHead {
				return 0, errHead
			}
			return 0, nil
		}
		arg.from, arg.to = arg.from+d.pos, arg.to+d.pos
		if err := d.took(arg, b); err != nil {
			return 0, err
		}
		d.pos += n
	}
	if d.pos > maxHead {
		return 0, errHead
	}
	d.fill(b, f)
	f.Flags = frame.Header | d.cmd.flags
	n := d.pos
	d.state = atArgument
	for d.args < d.argc { // what is there of the rest goes with the header
		_, used, err := d.argument(b[n:])
		if err != nil {
			return 0, err
		}
		if used == 0 {
			return n, nil
		}
		n += used
		d.args++
	}
	d.state = atRequest
	f.Flags |= frame.End
	return n, nil
}

// argument reads one argument at the front of b: n is 0 when it is not whole.
func (d *requestDecoder) argument(b []byte) (arg span, n int, err error) {
	if len(b) == 0 {
		return arg, 0, nil
	}
	if b[0] != '$' {
		return arg, 0, errType
	}
	size, n := length(b[1:])
	switch {
	case n == lineMore:
		return arg, 0, nil
	case n == lineBad || size < 0:
		return arg, 0, errLength
	case size > maxBulk:
		return arg, 0, errBulk
	}
	end := 1 + n + int(size)
	if end+2 > len(b) {
		return arg, 0, nil
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return arg, 0, errEnd
	}
	return span{1 + n, end}, end + 2, nil
}

// took notes an argument of the head.
func (d *requestDecoder) took(arg span, b []byte) error {
	if d.args == 0 {
		if err := d.command(arg.of(b)); err != nil {
			return err
		}
	}
	if d.args < len(d.kept) {
		d.kept[d.args] = arg
	}
	if d.args == d.keyAt && d.keyAt > 0 {
		d.key = arg
	}
	before := d.last
	d.last = arg
	d.args++
	switch d.cmd.key {
	case afterNumber, afterNumber1:
		at := 2
		if d.cmd.key == afterNumber1 {
			at = 1
		}
		if d.args == at+1 {
			d.keyAt = at + 1
			if v := arg.of(b); len(v) == 1 && v[0] == '0' {
				d.keyAt = -1
			}
		}
	case afterStreams:
		if d.keyAt == 0 && d.args > 1 && isWord(arg.of(b), "STREAMS") && !isWord(before.of(b), "GROUP") {
			d.keyAt = d.args
		}
	case clientWords:
		if d.args == 3 && isWord(d.kept[1].of(b), "REPLY") && !isWord(arg.of(b), "ON") {
			d.cmd.flags |= frame.Refuse
			d.cmd.reason = "client_reply_not_supported"
		}
	}
	return nil
}

// command looks the name up.
func (d *requestDecoder) command(name []byte) error {
	if len(name) > maxName {
		return errName
	}
	for i, c := range name {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		d.name[i] = c
	}
	d.named = len(name)
	d.cmd = commands[string(d.name[:d.named])]
	switch d.cmd.key {
	case firstArgument:
		d.keyAt = 1
	case secondArgument:
		d.keyAt = 2
	case noKey:
		d.keyAt = -1
	}
	return nil
}

// known says whether the head has all that the request is routed by.
func (d *requestDecoder) known() bool {
	switch {
	case d.args == 0:
		return false
	case d.cmd.key == clientWords:
		return d.args >= 3
	}
	return d.keyAt < 0 || d.keyAt > 0 && d.args > d.keyAt
}

// fill describes the request whose head is in b.
func (d *requestDecoder) fill(b []byte, f *frame.Frame) {
	f.Method = d.name[:d.named]
	if d.keyAt > 0 && d.args > d.keyAt {
		f.Path = d.key.of(b)
	}
	f.Reason = d.cmd.reason
	f.Note = uint64(d.cmd.note) | uint64(d.argc-1)<<8
}

// rest passes on the arguments behind the header.
func (d *requestDecoder) rest(b []byte, f *frame.Frame) (int, error) {
	n := 0
	for n < len(b) {
		if d.state == atArgument {
			if b[n] != '$' {
				return 0, errType
			}
			size, used := length(b[n+1:])
			switch {
			case used == lineMore:
				return d.common(n, f), nil
			case used == lineBad || size < 0:
				return 0, errLength
			case size > maxBulk:
				return 0, errBulk
			}
			n += 1 + used
			d.left = size + 2
			d.state = inArgument
			continue
		}
		k := int(min(d.left, int64(len(b)-n)))
		if !tailOK(b[n:n+k], d.left) {
			return 0, errEnd
		}
		n += k
		if d.left -= int64(k); d.left > 0 {
			break
		}
		d.state = atArgument
		if d.args++; d.args == d.argc {
			d.state = atRequest
			f.Flags = frame.Common | frame.End
			return n, nil
		}
	}
	return d.common(n, f), nil
}

func (d *requestDecoder) common(n int, f *frame.Frame) int {
	if n > 0 {
		f.Flags = frame.Common
	}
	return n
}

// tailOK says whether b, the next bytes of data of which left are to come, has CRLF in its place: the
// last two.
func tailOK(b []byte, left int64) bool {
	if cr := left - 2; cr >= 0 && cr < int64(len(b)) && b[cr] != '\r' {
		return false
	}
	if lf := left - 1; lf < int64(len(b)) && b[lf] != '\n' {
		return false
	}
	return true
}

// inline reads a command written as a line.
func (d *requestDecoder) inline(b []byte, f *frame.Frame) (int, error) {
	end := bytes.IndexByte(b[d.pos:], '\n')
	if end < 0 {
		if d.pos = len(b); d.pos >= maxInline {
			return 0, errInline
		}
		return 0, nil
	}
	end += d.pos
	d.state = atRequest
	if end >= maxInline {
		return 0, errInline
	}
	line := bytes.TrimSuffix(b[:end], []byte{'\r'})
	from := 0
	for d.argc = 0; ; d.argc++ {
		arg := nextWord(line, from)
		if arg.from == len(line) {
			break
		}
		from = arg.to
		if err := d.took(unquoted(line, arg), line); err != nil {
			return 0, err
		}
	}
	if d.argc == 0 {
		return end + 1, nil // an empty line: some clients keep connections alive so
	}
	d.fill(line, f)
	f.Flags = frame.Header | frame.End | d.cmd.flags
	return end + 1, nil
}

// nextWord finds the word at or after from; quotes hold blanks together.
func nextWord(line []byte, from int) span {
	for from < len(line) && blank(line[from]) {
		from++
	}
	w := span{from, from}
	quote := byte(0)
	for ; w.to < len(line); w.to++ {
		c := line[w.to]
		switch {
		case quote != 0 && c == '\\' && quote == '"':
			w.to = min(w.to+1, len(line)-1)
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case blank(c):
			return w
		}
	}
	return w
}

func blank(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' || c == 0 }

// unquoted is a word without the quotes around the whole of it. Escapes stay as they are written.
func unquoted(line []byte, w span) span {
	if w.to-w.from >= 2 && (line[w.from] == '"' || line[w.from] == '\'') && line[w.to-1] == line[w.from] {
		return span{w.from + 1, w.to - 1}
	}
	return w
}

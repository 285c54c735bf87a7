package format

import "github.com/sluiceproxy/sluice/proxy/streaminfo"

// evalFunc appends the operator's value; false, with dst as it was, when the stream has none.
type evalFunc func(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool)

// op is a literal (eval is nil) or an operator with its arguments.
type op struct {
	eval evalFunc
	// text is the literal.
	text string
	// bare says that the value is JSON by itself, an unsigned integer or a quoted text, to which typed
	// JSON adds no quotes.
	bare bool
	// request and response say which heads eval reads.
	request, response bool

	first, second field // REQ, RESP, TRAILER; second.name is empty without "?"
	limit         int   // ":Z": at most that many bytes; -1 none
	layout        []timePart
	begin, end    timePoint // durations
	unitNs        int64
	grpc          grpcForm
	keepSpaces    bool   // RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)
	space, key    string // DYNAMIC_METADATA, FILTER_STATE: the namespace, and the key
}

// Formatter is a compiled format string.
type Formatter struct {
	ops       []op
	steps     []step
	omitEmpty bool
}

// step is a literal and the operator behind it. Formatting reads these alone, two to a cache line: an op
// is several lines long, and most operators look at none of it.
type step struct {
	text string
	eval evalFunc // nil: there is only the text
	op   *op
}

func newFormatter(ops []op, omitEmpty bool) *Formatter {
	return &Formatter{ops: ops, steps: stepsOf(ops), omitEmpty: omitEmpty}
}

func stepsOf(ops []op) (steps []step) {
	text := ""
	for n := range ops {
		if o := &ops[n]; o.eval == nil {
			text += o.text
		} else {
			steps = append(steps, step{text, o.eval, o})
			text = ""
		}
	}
	if text != "" {
		steps = append(steps, step{text: text})
	}
	return steps
}

// Compile compiles a format string. "%%" is a percent sign. The error names the byte offset and the
// operator: an unknown or unsupported one, a bad argument, or a percent sign without its partner.
func Compile(text string) (*Formatter, error) { return CompileText(text, false) }

// CompileText is Compile with omit_empty_values: what is unset prints as nothing instead of "-".
func CompileText(text string, omitEmpty bool) (*Formatter, error) {
	ops, err := parse(text, false)
	if err != nil {
		return nil, err
	}
	return newFormatter(ops, omitEmpty), nil
}

// Append appends the text for a stream; a value that is not there reads "-" (OP-20).
func (f *Formatter) Append(dst []byte, i *streaminfo.Info) []byte {
	return appendSteps(dst, f.steps, i, f.omitEmpty)
}

func appendSteps(dst []byte, steps []step, i *streaminfo.Info, omitEmpty bool) []byte {
	for n := range steps {
		s := &steps[n]
		if len(s.text) == 1 { // most often a space
			dst = append(dst, s.text[0])
		} else {
			dst = append(dst, s.text...)
		}
		if s.eval == nil {
			break // the last one
		}
		var ok bool
		if dst, ok = s.eval(s.op, dst, i); !ok && !omitEmpty {
			dst = append(dst, '-')
		}
	}
	return dst
}

// AppendHeader appends the text for use as a header value: a value that is not there reads as
// nothing (RT-69d), and no byte that could end the header gets out.
func (f *Formatter) AppendHeader(dst []byte, i *streaminfo.Info) []byte {
	start := len(dst)
	for n := range f.steps {
		s := &f.steps[n]
		dst = append(dst, s.text...)
		if s.eval != nil {
			dst, _ = s.eval(s.op, dst, i)
		}
	}
	for n, c := range dst[start:] {
		if c == '\r' || c == '\n' || c == 0 {
			dst[start+n] = ' '
		}
	}
	return dst
}

// Static returns the whole text when no operator depends on the stream.
func (f *Formatter) Static() (string, bool) {
	text := ""
	for n := range f.ops {
		if f.ops[n].eval != nil {
			return "", false
		}
		text += f.ops[n].text
	}
	return text, true
}

// NeedsRequest says whether the request head is read, and so must outlive the event that brought it.
func (f *Formatter) NeedsRequest() bool { return anyOp(f.ops, func(o *op) bool { return o.request }) }

// NeedsResponse is NeedsRequest for the response head and its trailers.
func (f *Formatter) NeedsResponse() bool { return anyOp(f.ops, func(o *op) bool { return o.response }) }

func anyOp(ops []op, is func(*op) bool) bool {
	for n := range ops {
		if is(&ops[n]) {
			return true
		}
	}
	return false
}

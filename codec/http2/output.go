package http2

// queue counts frames that the peer has not taken from the transport yet. The transport says how many
// bytes it holds; marks at the ends of earlier batches turn that into frames, one batch too many at most.
//
//	bytes:  ...sent | batch | batch | batch |     a batch ends at each Taken that left bytes behind
//	                ^ sent  ^mark   ^mark   ^total
type queue struct {
	frames, control uint64 // ever written
	total           uint64 // bytes ever given to the transport
	base            mark   // everything up to here has been sent
	marks           *[numMarks]mark
	used            int
}

const numMarks = 16

type mark struct{ bytes, frames, control uint64 }

// sent drops the marks up to what has left the transport.
func (q *queue) sent(unsent int) {
	if unsent == 0 {
		q.base = mark{q.total, q.frames, q.control}
		q.used = 0
		return
	}
	k := 0
	for k < q.used && q.marks[k].bytes <= q.total-uint64(unsent) {
		q.base = q.marks[k]
		k++
	}
	if k > 0 {
		q.used = copy(q.marks[:], q.marks[k:q.used])
	}
}

// batch sets a mark at the end of what the transport has been given. When all marks are in use the last
// one moves: its batches then count until the whole of them has been sent.
func (q *queue) batch() {
	if q.marks == nil {
		q.marks = new([numMarks]mark)
	}
	if q.used < numMarks {
		q.used++
	}
	q.marks[q.used-1] = mark{q.total, q.frames, q.control}
}

// Output returns what must be written. Valid until the next call of a method of c.
func (c *Conn) Output() []byte { return c.out }

// Taken says that all of Output has been given to the transport, which now holds unsentBytes that it has
// not sent, earlier ones included. Call it after each batch, and when the transport has sent more. An
// error, a flood limit of HC-77, has ended the connection as one of Feed's does.
func (c *Conn) Taken(unsentBytes int) Err {
	q := &c.queue
	if len(c.out) > 0 {
		q.total += uint64(len(c.out))
		c.ws.putBuffer(c.out)
		c.out = nil
		q.sent(unsentBytes)
		if unsentBytes > 0 {
			q.batch()
		}
	} else {
		q.sent(unsentBytes)
	}
	if unsentBytes == 0 || c.state == readNothing {
		return OK
	}
	e := OK
	switch {
	case q.control-q.base.control > uint64(c.o.MaxOutboundControlFrames):
		e = ErrControlFlood
	case q.frames-q.base.frames > uint64(c.o.MaxOutboundFrames):
		e = ErrOutboundFlood
	default:
		return OK
	}
	c.fail(e)
	return e
}

// QueuedFrames returns how many frames the transport has not sent, and how many of them are answers
// (PING, SETTINGS, RST_STREAM); never fewer than there are.
func (c *Conn) QueuedFrames() (all, control int) {
	q := &c.queue
	return int(q.frames - q.base.frames), int(q.control - q.base.control)
}

package http2

// State is where a stream stands (RFC 9113 5.1); see the package comment for the transitions. There is
// no idle state: a stream that is idle has no object.
type State uint8

const (
	// StateFree: in a free list; the object is nobody's.
	StateFree State = iota
	// StateOpen: both sides may send.
	StateOpen
	// StateHalfClosedLocal: we have sent END_STREAM.
	StateHalfClosedLocal
	// StateHalfClosedRemote: the peer has.
	StateHalfClosedRemote
	// StateClosed: over on the wire; the object waits for Release.
	StateClosed
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case StateFree:
		return "free"
	case StateOpen:
		return "open"
	case StateHalfClosedLocal:
		return "half closed (local)"
	case StateHalfClosedRemote:
		return "half closed (remote)"
	case StateClosed:
		return "closed"
	}
	return "unknown"
}

// streamFlags are what there is to know of the messages of a stream.
type streamFlags uint8

const (
	// wantHead: the head (of a response, the final one) has not come.
	wantHead streamFlags = 1 << iota
	// noBody: the message received cannot have data: HEAD, 204, 304.
	noBody
	// isHead: the request was HEAD.
	isHead
	// isConnect: the request was CONNECT; a 2xx begins a tunnel.
	isConnect
	// isUpgrade: the request was extended CONNECT.
	isUpgrade
	// isTunnel: what the peer sends is opaque, and no trailers follow it (RFC 9113 8.5).
	isTunnel
	// isBlocked: in the list of those that wait for a window.
	isBlocked
)

// Stream is one request and its response. It belongs to a Conn; the owner may hold it from HeadFor or
// Open until Release, and calls the Conn's methods with it. Loop-owned.
type Stream struct {
	// Owner is the owner's; the codec does not look at it. Nil in a new stream.
	Owner any

	id    uint32
	state State
	flags streamFlags

	sendWindow int32 // what the peer still lets us send; negative after its initial window shrank
	recvWindow int32 // what we still let the peer send
	credit     int32 // consumed, and not yet said so by WINDOW_UPDATE
	held       int64 // delivered, and not yet consumed

	expect   int64 // bytes of content-length still to come; -1 when it was not declared
	openedNs int64
	wireIn   uint64 // bytes of its HEADERS, CONTINUATION and DATA frames

	prevBlocked, nextBlocked *Stream
	nextFree                 *Stream
}

// ID returns the stream's number.
func (st *Stream) ID() uint32 { return st.id }

// State returns where the stream stands.
func (st *Stream) State() State { return st.state }

// mustBeHeld panics, in debug builds, when the owner uses a stream it has released.
func (st *Stream) mustBeHeld() {
	if debugging && st.state == StateFree {
		panic("http2: a stream is used after its Release")
	}
}

// SendWindow returns how many bytes of data the peer's stream window has room for; it may be negative.
func (st *Stream) SendWindow() int { return int(st.sendWindow) }

// WireReceived returns how many bytes the peer has sent in the stream's HEADERS, CONTINUATION and DATA
// frames, frame headers included; of a DATA frame that is still coming, all of it.
func (st *Stream) WireReceived() uint64 { return st.wireIn }

func (st *Stream) canSend() bool { return st.state == StateOpen || st.state == StateHalfClosedRemote }

func (st *Stream) canReceive() bool { return st.state == StateOpen || st.state == StateHalfClosedLocal }

// streamTable finds a connection's streams by number: open addressing with linear probes. Numbers come
// in order, so that the halved number spreads without a hash. At most half full.
type streamTable struct {
	slots []*Stream
	count int
}

const minSlots = 8

func (t *streamTable) get(id uint32) *Stream {
	if t.count == 0 {
		return nil
	}
	mask := uint32(len(t.slots) - 1)
	for i := id >> 1 & mask; ; i = (i + 1) & mask {
		if st := t.slots[i]; st == nil || st.id == id {
			return st
		}
	}
}

func (t *streamTable) put(st *Stream) {
	if 2*(t.count+1) > len(t.slots) {
		old := t.slots
		t.slots = make([]*Stream, max(minSlots, 2*len(old)))
		for _, s := range old {
			if s != nil {
				t.place(s)
			}
		}
	}
	t.place(st)
	t.count++
}

func (t *streamTable) place(st *Stream) {
	mask := uint32(len(t.slots) - 1)
	i := st.id >> 1 & mask
	for t.slots[i] != nil {
		i = (i + 1) & mask
	}
	t.slots[i] = st
}

// remove takes a stream out and closes the gap, so that probes need no grave marks. A table that had
// grown is given back when the last stream goes.
func (t *streamTable) remove(st *Stream) {
	mask := uint32(len(t.slots) - 1)
	i := st.id >> 1 & mask
	for t.slots[i] != st {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		s := t.slots[j]
		if s == nil {
			break
		}
		// s may move to i unless its home lies behind i on the way to j.
		if home := s.id >> 1 & mask; (j-home)&mask >= (j-i)&mask {
			t.slots[i] = s
			i = j
		}
	}
	t.slots[i] = nil
	if t.count--; t.count == 0 && len(t.slots) > 8*minSlots {
		t.slots = nil
	}
}

// blockedList is a queue of the streams that have data and no window.
type blockedList struct {
	first, last *Stream
	count       int
}

func (l *blockedList) push(st *Stream) {
	if st.flags&isBlocked != 0 {
		return
	}
	st.flags |= isBlocked
	st.prevBlocked, st.nextBlocked = l.last, nil
	if l.last != nil {
		l.last.nextBlocked = st
	} else {
		l.first = st
	}
	l.last = st
	l.count++
}

func (l *blockedList) remove(st *Stream) {
	if st.flags&isBlocked == 0 {
		return
	}
	st.flags &^= isBlocked
	if st.prevBlocked != nil {
		st.prevBlocked.nextBlocked = st.nextBlocked
	} else {
		l.first = st.nextBlocked
	}
	if st.nextBlocked != nil {
		st.nextBlocked.prevBlocked = st.prevBlocked
	} else {
		l.last = st.prevBlocked
	}
	st.prevBlocked, st.nextBlocked = nil, nil
	l.count--
}

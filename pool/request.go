package pool

// Owner is told what became of a Request: exactly one of the two, once, unless
// the request was cancelled before. A Mux has streams in place of connections: it
// gives the request to a Session.
type Owner interface {
	// OnPoolReady lends c until Release, Abort or its OnClosed. The owner sets a
	// handler (Conn.SetHandler) before it returns.
	OnPoolReady(c *Conn)
	// OnPoolFailure says that there is no connection. err has the system's words
	// for connect failures, nil otherwise.
	OnPoolFailure(f Failure, err error)
}

// Request is one wish for a connection, embedded in what it is for. Set Owner
// before Acquire. It can be used again once it was answered or cancelled; it
// must not be moved or freed before.
type Request struct {
	Owner Owner
	// Secure, when set, encrypts the connection that is dialled for the request alone (Options.Exclusive)
	// in place of Options.Secure, which hears of everything else about it. Only read within Acquire.
	Secure Securer

	pool       *Pool // not nil while it waits for a connection of its own
	mux        *Mux  // not nil while it waits for a stream
	conn       *Conn // dialled for it alone (Options.Exclusive)
	prev, next *Request
	ordinal    uint64 // position among all that ever waited
}

// Cancel takes the request back from the pool it waits in, as Pool.Cancel; nothing when it does not wait.
func (r *Request) Cancel() {
	switch {
	case r.pool != nil:
		r.pool.Cancel(r)
	case r.mux != nil:
		r.mux.cancel(r)
	}
}

// queue holds waiting requests, oldest first. Removing one is O(1).
type queue struct {
	head, tail *Request
	len        int
	entered    uint64
}

func (q *queue) push(r *Request, p *Pool) {
	r.pool, r.ordinal = p, q.entered
	q.entered++
	r.prev, r.next = q.tail, nil
	if q.tail == nil {
		q.head = r
	} else {
		q.tail.next = r
	}
	q.tail = r
	q.len++
}

func (q *queue) remove(r *Request) {
	if r.prev == nil {
		q.head = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		q.tail = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.pool, r.mux, r.conn, r.prev, r.next = nil, nil, nil, nil, nil
	q.len--
}

package cluster

import "sync/atomic"

// Failure is how a try of a host ended without an answer of its own.
type Failure uint8

const (
	// ConnectFailed: there was no connection.
	ConnectFailed Failure = iota
	// Broke: the connection or stream ended before the answer did.
	Broke
	// TimedOut: the answer did not come in time.
	TimedOut
	numFailures
)

// record is what outlier detection and immediate health check failures need to know of a host while it
// serves, over all loops. Loops only add to it; what crosses a threshold is left here and told to the
// control plane, which decides (the conditions are few and rare: success costs two loads).
type record struct {
	consecutive [numConsecutive]atomic.Uint32
	// crossed has a bit for each consecutive count that reached its threshold, and failedAtOnce.
	crossed atomic.Uint32
	watched
}

// watched is the cluster's part.
type watched struct {
	// thresholds of the counts; nil: no outlier detection.
	thresholds *thresholds
	// split: failures without an answer are counted apart (split_external_local_origin_errors).
	split bool
	// tell wakes the control plane; it has room for one.
	tell chan<- struct{}
}

// The counts of failures in a row.
const (
	consecutive5xx = iota
	consecutiveGateway
	consecutiveLocal
	numConsecutive
	// failedAtOnce is the bit of x-envoy-immediate-health-check-fail.
	failedAtOnce = numConsecutive
)

// threshold says how many of a kind in a row are too many.
type threshold interface{ Load() uint64 }

type thresholds [numConsecutive]threshold

func (w *record) cross(what int) {
	w.crossed.Or(1 << what)
	select {
	case w.tell <- struct{}{}:
	default: // it is awake
	}
}

func (w *record) one(what int) {
	if n := w.consecutive[what].Add(1); uint64(n) == w.thresholds[what].Load() {
		w.cross(what)
	}
}

// clear ends a run of failures. Most often there is none.
func (w *record) clear(what int) {
	if w.consecutive[what].Load() != 0 {
		w.consecutive[what].Store(0)
	}
}

// Answered notes an answer of the host: an HTTP status, for a gRPC call that of its grpc-status
// (GRPCStatus). l is the calling loop's. No lock, no allocation.
func (h *Host) Answered(l *HostLoad, status uint16) {
	w := h.record
	if w == nil || w.thresholds == nil {
		return
	}
	w.answered(l, status)
}

func (w *record) answered(l *HostLoad, status uint16) {
	l.Answers++
	switch {
	case status < 500:
		l.GoodAnswers++
		w.clear(consecutive5xx)
		w.clear(consecutiveGateway)
		return
	case status == 502 || status == 503 || status == 504:
		w.one(consecutiveGateway)
	default:
		w.clear(consecutiveGateway)
	}
	w.one(consecutive5xx)
}

// Failed notes a try that ended without an answer. Unless such failures are counted apart they count as
// 503, and as the status the client was given when it is a timeout; 0: as 504 (CL-46).
func (h *Host) Failed(l *HostLoad, f Failure, status uint16) {
	w := h.record
	if w == nil || w.thresholds == nil {
		return
	}
	switch {
	case w.split:
		l.Tries++
		w.one(consecutiveLocal)
	case f != TimedOut:
		w.answered(l, 503)
	case status == 0:
		w.answered(l, 504)
	default:
		w.answered(l, status)
	}
}

// Connected notes that the host could be reached. final says that nothing else will be noted of the try,
// as with a TCP session: then it is an answer, too.
func (h *Host) Connected(l *HostLoad, final bool) {
	w := h.record
	if w == nil || w.thresholds == nil {
		return
	}
	switch {
	case w.split:
		l.Tries++
		l.GoodTries++
		w.clear(consecutiveLocal)
	case final:
		w.answered(l, 200)
	}
}

// FailedAtOnce notes x-envoy-immediate-health-check-fail in an answer: a host with active health checks
// is out until one succeeds (CL-41).
func (h *Host) FailedAtOnce() {
	if w := h.record; w != nil {
		w.cross(failedAtOnce)
	}
}

// Minds says whether outcomes of the host matter to anybody; when not, noting them has no effect.
func (h *Host) Minds() bool { return h.record != nil }

// GRPCStatus returns the HTTP status that a grpc-status counts as.
func GRPCStatus(code uint32) uint16 {
	switch code {
	case 0: // OK
		return 200
	case 1: // CANCELLED
		return 499
	case 3, 9, 11: // INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE
		return 400
	case 4: // DEADLINE_EXCEEDED
		return 504
	case 5: // NOT_FOUND
		return 404
	case 6, 10: // ALREADY_EXISTS, ABORTED
		return 409
	case 7: // PERMISSION_DENIED
		return 403
	case 8: // RESOURCE_EXHAUSTED
		return 429
	case 12: // UNIMPLEMENTED
		return 501
	case 14: // UNAVAILABLE
		return 503
	case 16: // UNAUTHENTICATED
		return 401
	}
	return 500 // UNKNOWN, INTERNAL, DATA_LOSS and what nobody knows
}

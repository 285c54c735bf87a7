package sock

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Class groups errnos by what one does about them.
type Class uint8

const (
	// OK is errno 0.
	OK Class = iota
	// Again: nothing now, wait for readiness.
	Again
	// Reset: the peer is gone (ECONNRESET, EPIPE, ECONNABORTED, ENOTCONN).
	Reset
	// Refused: nobody listens there.
	Refused
	// TimedOut: the kernel gave up waiting for the peer.
	TimedOut
	// Unreachable: no route.
	Unreachable
	// Limit: out of descriptors (EMFILE, ENFILE).
	Limit
	// Memory: out of kernel memory (ENOBUFS, ENOMEM).
	Memory
	// InProgress: a connection attempt goes on.
	InProgress
	// Refusal: the call is not possible on these descriptors (splice: EINVAL, ENOSYS).
	Refusal
	// Other is everything else.
	Other
)

// Classify returns the class of e.
func Classify(e syscall.Errno) Class {
	switch e {
	case 0:
		return OK
	case unix.EAGAIN:
		return Again
	case unix.ECONNRESET, unix.EPIPE, unix.ECONNABORTED, unix.ENOTCONN:
		return Reset
	case unix.ECONNREFUSED, unix.ENOENT:
		return Refused
	case unix.ETIMEDOUT:
		return TimedOut
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		return Unreachable
	case unix.EMFILE, unix.ENFILE:
		return Limit
	case unix.ENOBUFS, unix.ENOMEM:
		return Memory
	case unix.EINPROGRESS, unix.EALREADY:
		return InProgress
	case unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP:
		return Refusal
	}
	return Other
}

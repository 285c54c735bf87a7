// Package poll adapts gnet's readiness poller (pkg/netpoll) to the engine. It is
// the only importer of gnet, and hides what would surprise a caller:
//
//   - The wait has no timeout and the poller no end-of-batch hook: a timer and a
//     wake-up, both descriptors in the poll set, stand in. Waking does not
//     allocate (gnet's Trigger does).
//   - Events are reported by descriptor number, and one closed and opened again
//     within a batch gets the old event. So an event is a hint here: whoever
//     gets it must make the system call that proves it.
//   - gnet logs through zap to standard output: New routes that to slog.
//   - gnet's init reads GNET_LOGGING_LEVEL and GNET_LOGGING_FILE and panics when
//     they are malformed, before any code of ours runs. Do not set them.
//   - Closing a descriptor removes it from the poll set only when no duplicate
//     of it is open: use Remove for those that have one.
//
// Registration is edge-triggered, so pausing and resuming cost no system call. What is
// reported changes only for sockets whose events nobody waits for (Reads, Room, All). The
// package must not know what a connection is.
package poll

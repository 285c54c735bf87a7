// Package sock holds every system call and socket option of the engine.
//
// On Linux each call that cannot block is made raw (syscall.RawSyscall): the
// scheduler is not told, which is the largest single saving of the whole data
// path (9.8 against 7.6 us CPU per proxied request). x/sys's function of that
// name is assembly in front of syscall's, which costs two more calls between
// ABIs each time. All sockets are non-blocking, so only the poller's wait can
// block, and that one is not here. Elsewhere the ordinary wrappers of x/sys are used.
//
// Calls return an errno, zero for success, never an error value: nothing is
// allocated. EINTR is retried here. Classify turns an errno into what callers
// decide by. Sends never raise SIGPIPE on Linux.
package sock

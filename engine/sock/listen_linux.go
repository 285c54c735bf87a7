package sock

import "golang.org/x/sys/unix"

const reusePort = unix.SO_REUSEPORT

// noSYN is a socket filter that drops segments asking for a new connection and
// passes all others. It sees a segment from its TCP header on; byte 13 has the flags.
var noSYN = [...]unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: tcpSYN | tcpACK},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: tcpSYN, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
}

const (
	tcpSYN = 0x02
	tcpACK = 0x10
)

// HoldOff makes a listening TCP socket ignore new clients, so that its queue can
// be emptied before it is closed without one more arriving in between. Their
// kernels ask again a second later. Where that cannot be had the gap stays.
func HoldOff(fd int) {
	prog := unix.SockFprog{Len: uint16(len(noSYN)), Filter: &noSYN[0]}
	_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog)
}

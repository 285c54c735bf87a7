package relay_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
)

// refuseSplice makes the kernel answer EINVAL to splice(2) from descriptor fd, or
// with fd -1 to all, on the loop's thread for as long as that lives. A locked
// thread ends with its goroutine, and the runtime never makes others from it.
func refuseSplice(t *testing.T, g *engine.Group, fd int) {
	t.Helper()
	const (
		ld, jeq, ret  = 0x20, 0x15, 0x06
		allow, refuse = 0x7fff0000, 0x00050000 | uint32(syscall.EINVAL)
		nr, arg0      = 0, 16 // offsets in struct seccomp_data
	)
	if b := uint16(1); *(*byte)(unsafe.Pointer(&b)) == 0 {
		t.Skip("arg0's low half is elsewhere on this machine")
	}
	filter := []syscall.SockFilter{
		{Code: ld, K: nr},
		{Code: jeq, K: syscall.SYS_SPLICE, Jt: 1},
		{Code: ret, K: allow},
		{Code: ld, K: arg0},
		{Code: jeq, K: uint32(fd), Jt: 1},
		{Code: ret, K: allow},
		{Code: ret, K: refuse},
	}
	if fd < 0 { // whatever arg0 is
		filter = append(filter[:3], filter[6])
	}
	prog := syscall.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const noNewPrivs, setSeccomp, modeFilter = 38, 22, 2
	var e syscall.Errno
	on(t, g, func() {
		runtime.LockOSThread()
		if _, _, e = syscall.RawSyscall6(syscall.SYS_PRCTL, noNewPrivs, 1, 0, 0, 0, 0); e == 0 {
			_, _, e = syscall.RawSyscall(syscall.SYS_PRCTL, setSeccomp, modeFilter, uintptr(unsafe.Pointer(&prog)))
		}
	})
	if e != 0 {
		t.Skipf("no system call filter here: %v", e)
	}
}

// pipeEnds returns the descriptors of this process that read from a pipe.
func pipeEnds(t *testing.T) (fds []int) {
	t.Helper()
	ents, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ents {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name())
		info, err := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		if err != nil || !strings.HasPrefix(name, "pipe:") {
			continue
		}
		_, flags, _ := strings.Cut(string(info), "flags:")
		flags, _, _ = strings.Cut(strings.TrimSpace(flags), "\n")
		if n, err := strconv.ParseInt(flags, 8, 64); err == nil && n&syscall.O_ACCMODE == syscall.O_RDONLY {
			fd, _ := strconv.Atoi(e.Name())
			fds = append(fds, fd)
		}
	}
	return fds
}

// TestRefusedSpliceFallsBackToCopying: the kernel refuses to splice from the
// source, or only later from the pipe to the destination, with bytes in it.
func TestRefusedSpliceFallsBackToCopying(t *testing.T) {
	for _, fromPipe := range []bool{false, true} {
		t.Run(fmt.Sprintf("from the pipe only: %v", fromPipe), func(t *testing.T) {
			before := pipeEnds(t)
			client, origin, f, g := tunnel(t, relay.Options{})
			first, second := random(1<<20, 5), random(3<<20, 6)
			refused := -1
			if fromPipe { // first a megabyte that is spliced, so that there is a pipe
				exchange(t, client, origin, first)
				for _, fd := range pipeEnds(t) {
					if !slices.Contains(before, fd) {
						refused = fd
					}
				}
				if refused < 0 {
					t.Fatal("nothing was spliced")
				}
			}
			refuseSplice(t, g, refused)
			exchange(t, client, origin, second)
			_ = client.CloseWrite()
			_ = origin.CloseWrite()
			want := uint64(len(second))
			if fromPipe {
				want += uint64(len(first))
			}
			if r := f.wait(t); r.up != want || r.down != want || r.a != engine.PeerClosed || r.b != engine.PeerClosed {
				t.Errorf("result %+v, want %d bytes both ways", r, want)
			}
		})
	}
}

// TestNoPipeToBeHadMeansCopying, and splicing again some megabytes later.
func TestNoPipeToBeHadMeansCopying(t *testing.T) {
	client, origin, f, _ := tunnel(t, relay.Options{})
	before := len(pipeEnds(t))
	give := takeDescriptors(t)
	exchange(t, client, origin, random(2<<20, 8))
	give()
	copied := len(pipeEnds(t))
	spliced := before
	for try := 0; try < 10 && spliced <= before; try++ { // how many pieces are full is up to the kernel
		exchange(t, client, origin, random(16<<20, 9))
		spliced = len(pipeEnds(t))
	}
	if copied != before || spliced <= before {
		t.Errorf("%d pipes at first, %d when there were no descriptors, %d in the end", before, copied, spliced)
	}
	_ = client.CloseWrite()
	_ = origin.CloseWrite()
	if r := f.wait(t); r.a != engine.PeerClosed || r.b != engine.PeerClosed || r.up != r.down {
		t.Errorf("result %+v", r)
	}
}

// takeDescriptors leaves the process none to open, until what it returns is called.
func takeDescriptors(t *testing.T) (give func()) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	low := was
	low.Cur = uint64(descriptors(t) + 16)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Skip(err)
	}
	var taken []int
	for {
		fd, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	return func() {
		for _, fd := range taken {
			syscall.Close(fd)
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	}
}

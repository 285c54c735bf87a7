package resp

import (
	"testing"

	"github.com/sluiceproxy/sluice/codec/frame/frametest"
)

// FuzzRequests: any cut gives the same requests and no byte is lost.
func FuzzRequests(f *testing.F) {
	f.Add([]byte(request("SET", "k", "v")+"ping\r\n"+request("SUBSCRIBE", "a")), byte(1), byte(3))
	f.Add([]byte("*3\r\n$3\r\nset\r\n$1\r\nk\r\n$10\r\nabc"), byte(2), byte(9))
	f.Add([]byte("xread streams \"a b\"\r\n*0\r\n"), byte(4), byte(1))
	f.Fuzz(func(t *testing.T, data []byte, a, b byte) {
		if d := frametest.Cuts(requests, data, []int{1 + int(a), 1 + int(b)}); d != "" {
			t.Fatal(d)
		}
		r, err := frametest.Whole(requests, data)
		if d := r.Wires(data); err == nil && d != "" {
			t.Fatal(d)
		}
	})
}

// FuzzReplies is FuzzRequests for replies, to commands that the fuzzer chooses.
func FuzzReplies(f *testing.F) {
	f.Add([]byte("+OK\r\n*2\r\n$1\r\na\r\n:1\r\n"), []byte{0, 0}, byte(1), byte(3))
	f.Add([]byte(array('*', "subscribe", "a", ":1")+array('>', "message", "a", "m")), []byte{noteSubscribe}, byte(7), byte(2))
	f.Add([]byte("|1\r\n+a\r\n:1\r\n-E\r\n+1.0 x\r\n"), []byte{noteMonitor, 0}, byte(2), byte(2))
	f.Fuzz(func(t *testing.T, data, asked []byte, a, b byte) {
		make := func() *frametest.Run {
			return &frametest.Run{Decoder: Codec{}.NewResponseDecoder(), Limit: maxHead, Due: func(i int) (uint64, bool) {
				if i < len(asked) {
					return uint64(asked[i]&15) | uint64(asked[i]>>4)<<8, true
				}
				return 0, false
			}}
		}
		if d := frametest.Cuts(make, data, []int{1 + int(a), 1 + int(b)}); d != "" {
			t.Fatal(d)
		}
		r, err := frametest.Whole(make, data)
		if d := r.Wires(data); err == nil && d != "" {
			t.Fatal(d)
		}
	})
}

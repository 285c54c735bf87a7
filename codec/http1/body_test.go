package http1

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"pgregory.net/rapid"
)

// decoded is what a body reader made of some bytes.
type decoded struct {
	data     string
	used     int
	done     bool
	e        Err
	trailers string
}

// decode feeds in to d with reads that end at cuts, keeping the unused rest as a connection would.
func decode(t interface{ Fatalf(string, ...any) }, d *Body, in string, cuts []int) (out decoded) {
	var data []byte
	var trailers header.Head
	d.SetTrailers(&trailers)
	for _, end := range append(slices.Clone(cuts), len(in)) {
		for !out.done {
			p := exact(in[out.used:end])
			run, n, done, e := d.Next(p)
			if n < 0 || n > len(p) || len(run) > n {
				t.Fatalf("Next(%q) used %d and gave %d", p, n, len(run))
			}
			if e != OK {
				if again, n2, _, e2 := d.Next(p); e2 != e || n2 != 0 || again != nil {
					t.Fatalf("an error is not kept: %q, then %q", e.Explain(), e2.Explain())
				}
				out.used += n
				out.data, out.e = string(data), e
				return out
			}
			data = append(data, run...)
			out.used += n
			if out.done = done; done != d.Complete() {
				t.Fatalf("done %v but Complete %v", done, d.Complete())
			}
			if n == 0 {
				break
			}
		}
	}
	out.data, out.trailers = string(data), fieldsOf(&trailers)
	return out
}

func bodyOf(transfer header.TransferKind, length int64) *Body {
	d := &Body{}
	d.Init(&header.Head{Transfer: transfer, ContentLength: length})
	return d
}

func TestChunkedBody(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want decoded // used 0 stands for all of in
	}{
		{"an empty body", "0\r\n\r\n", decoded{done: true}},
		{"two chunks", "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", decoded{data: "abc0123456789", done: true}},
		{"bytes after the end are not used", "1\r\na\r\n0\r\n\r\nGET /", decoded{data: "a", used: 11, done: true}},
		{"hexadecimal in both cases", "0a\r\n0123456789\r\n00B\r\n01234567890\r\n000\r\n\r\n", decoded{data: "012345678901234567890", done: true}},
		{"HC-25 extensions are dropped", "3;a;b=c; d = \"e f\"\r\nabc\r\n0;x\r\n\r\n", decoded{data: "abc", done: true}},
		{"HC-25 white space before an extension", "3 \t;a\r\nabc\r\n0\r\n\r\n", decoded{data: "abc", done: true}},
		{"HC-13 trailers", "0\r\nX-A: 1 \r\ngrpc-status:0\r\n\r\n", decoded{done: true, trailers: "[X-A=1][grpc-status=0]"}},
		{"trailers that frame or route are dropped", "0\r\nContent-Length: 5\r\nHost: y\r\nTransfer-Encoding: chunked\r\nX: 1\r\nConnection: x\r\n\r\n", decoded{done: true, trailers: "[X=1]"}},
		{"HC-24 no digit", ";a\r\n", decoded{e: ErrChunkSize}},
		{"HC-24 an empty size line", "\r\n", decoded{e: ErrChunkSize}},
		{"HC-24 a prefix", "0x3\r\n", decoded{used: 1, e: ErrChunkSize}},
		{"HC-24 a sign", "+3\r\n", decoded{e: ErrChunkSize}},
		{"HC-24 a negative size", "-3\r\n", decoded{e: ErrChunkSize}},
		{"HC-24 white space first", " 3\r\n", decoded{e: ErrChunkSize}},
		{"HC-24 white space before CRLF", "3 \r\n", decoded{used: 2, e: ErrChunkSize}},
		{"HC-24 63 bits are the most", "8000000000000000\r\n", decoded{used: 15, e: ErrChunkSize}},
		{"HC-24 64 bits wrap for others", "10000000000000003\r\n", decoded{used: 16, e: ErrChunkSize}},
		{"HC-24 a bare LF after the size", "3\nabc", decoded{used: 1, e: ErrChunkSize}},
		{"HC-24 a bare CR after the size", "3\rabc", decoded{used: 2, e: ErrChunkSize}},
		{"HC-24 an underscore", "1_0\r\n", decoded{used: 1, e: ErrChunkSize}},
		{"HC-25 a bare CR in an extension", "3;a\rb\r\n", decoded{used: 4, e: ErrChunkSize}},
		{"HC-25 a bare LF in an extension", "3;a\nabc", decoded{used: 3, e: ErrChunkExtension}},
		{"HC-25 NUL in an extension", "3;\x00\r\n", decoded{used: 2, e: ErrChunkExtension}},
		{"HC-26 data longer than its size", "3\r\nabcd\r\n", decoded{data: "abc", used: 6, e: ErrChunkEnd}},
		{"HC-26 LF alone after the data", "3\r\nabc\n0\r\n\r\n", decoded{data: "abc", used: 6, e: ErrChunkEnd}},
		{"HC-26 CR and no LF after the data", "3\r\nabc\rX", decoded{data: "abc", used: 7, e: ErrChunkEnd}},
		{"a trailer line ended by LF alone", "0\r\nX: 1\n\r\n", decoded{used: 3, e: ErrFieldValue}},
		{"an end by LF alone", "0\r\n\n", decoded{used: 3, e: ErrFieldValue}},
		{"a trailer without a colon", "0\r\nGET / HTTP/1.1\r\n\r\n", decoded{used: 3, e: ErrFieldName}},
		{"a trailer with a space before the colon", "0\r\nX : 1\r\n\r\n", decoded{used: 3, e: ErrFieldName}},
		{"a folded trailer", "0\r\nX: 1\r\n 2\r\n\r\n", decoded{used: 9, e: ErrFolding}},
		{"NUL in a trailer", "0\r\nX: \x00\r\n\r\n", decoded{used: 3, e: ErrFieldValue}},
		{"a bare CR in a trailer", "0\r\nX: a\rb\r\n\r\n", decoded{used: 3, e: ErrFieldValue}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want.used == 0 && want.e == OK {
				want.used = len(tt.in)
			}
			if got := decode(t, bodyOf(header.Chunked, -1), tt.in, nil); got != want {
				t.Errorf("whole:\n got %+v\nwant %+v", got, want)
			}
			if got := decode(t, bodyOf(header.Chunked, -1), tt.in, everyByte(tt.in)); got != want {
				t.Errorf("byte by byte:\n got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestBodyLimits(t *testing.T) {
	ext := func(n int) string { return "1;" + strings.Repeat("x", n-1) + "\r\na\r\n" }
	tests := []struct {
		name string
		in   string
		opts func(o *Options)
		want Err
	}{
		{"HC-25 extensions of just the cap", ext(maxExtBytes) + "0\r\n\r\n", nil, OK},
		{"HC-25 one byte of extension more", ext(maxExtBytes+1) + "0\r\n\r\n", nil, ErrChunkExtension},
		{"HC-25 the cap is for the message", strings.Repeat(ext(maxExtBytes/4), 4) + ext(2) + "0\r\n\r\n", nil, ErrChunkExtension},
		{"HC-13 trailers of just the limit", "0\r\nX: 123\r\n\r\n", func(o *Options) { o.MaxHeadBytes = 10 }, OK},
		{"HC-13 one byte more", "0\r\nX: 1234\r\n\r\n", func(o *Options) { o.MaxHeadBytes = 10 }, ErrTooLarge},
		{"HC-13 a line without end", "0\r\nX: 123456789", func(o *Options) { o.MaxHeadBytes = 10 }, ErrTooLarge},
		{"HC-13 as many trailers as allowed", "0\r\nX: 1\r\nY: 2\r\n\r\n", func(o *Options) { o.MaxFields = 2 }, OK},
		{"HC-13 too many trailers", "0\r\nX: 1\r\nY: 2\r\nZ: 3\r\n\r\n", func(o *Options) { o.MaxFields = 2 }, ErrTooManyFields},
		{"HC-14 an underscore in a trailer", "0\r\nX_Y: 1\r\n\r\n", func(o *Options) { o.Underscores = UnderscoreReject }, ErrUnderscore},
		{"HC-14 an underscore in a trailer dropped", "0\r\nX_Y: 1\r\n\r\n", func(o *Options) { o.Underscores = UnderscoreDrop }, OK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, cuts := range [][]int{nil, everyByte(tt.in)} {
				d := bodyOf(header.Chunked, -1)
				d.SetLimits(defaults(tt.opts))
				if got := decode(t, d, tt.in, cuts); got.e != tt.want || got.done != (tt.want == OK) {
					t.Errorf("with %d cuts %+v, want %q", len(cuts), got, tt.want.Explain())
				}
			}
		})
	}
}

func TestTrailersAreDroppedWithoutAHead(t *testing.T) {
	d := bodyOf(header.Chunked, -1)
	in := []byte("0\r\nX-A: 1\r\n\r\n")
	if _, n, done, e := d.Next(in); n != len(in) || !done || e != OK {
		t.Errorf("%d %v %q", n, done, e.Explain())
	}
	d = bodyOf(header.Chunked, -1)
	if _, _, _, e := d.Next([]byte("0\r\nX A: 1\r\n\r\n")); e != ErrFieldName {
		t.Errorf("a trailer that is dropped is not checked: %q", e.Explain())
	}
}

func TestOtherBodies(t *testing.T) {
	tests := []struct {
		name     string
		transfer header.TransferKind
		length   int64
		in       string
		want     decoded
		close    Err
	}{
		{"no body", header.NoBody, 5, "GET /", decoded{done: true}, OK},
		{"a length", header.Length, 5, "hello", decoded{data: "hello", used: 5, done: true}, OK},
		{"a length and the next request", header.Length, 5, "helloGET", decoded{data: "hello", used: 5, done: true}, OK},
		{"a length cut short", header.Length, 5, "hell", decoded{data: "hell", used: 4}, ErrTruncated},
		{"until close", header.UntilClose, -1, "hello", decoded{data: "hello", used: 5}, OK},
		{"a tunnel", header.Tunnel, -1, "\x00\r\n0\r\n\r\n", decoded{data: "\x00\r\n0\r\n\r\n", used: 8}, OK},
		{"chunked cut in a size", header.Chunked, -1, "5", decoded{used: 1}, ErrTruncated},
		{"chunked cut in its data", header.Chunked, -1, "5\r\nhe", decoded{data: "he", used: 5}, ErrTruncated},
		{"chunked cut before its trailers end", header.Chunked, -1, "0\r\n\r", decoded{used: 3}, ErrTruncated},
		{"chunked and broken", header.Chunked, -1, "z", decoded{e: ErrChunkSize}, ErrChunkSize},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, cuts := range [][]int{nil, everyByte(tt.in)} {
				d := bodyOf(tt.transfer, tt.length)
				if got := decode(t, d, tt.in, cuts); got != tt.want {
					t.Errorf("with %d cuts\n got %+v\nwant %+v", len(cuts), got, tt.want)
				}
				if e := d.OnClose(); e != tt.close || d.Complete() != (e == OK) {
					t.Errorf("at the end of the connection %q, complete %v; want %q", e.Explain(), d.Complete(), tt.close.Explain())
				}
			}
		})
	}
}

func TestSkipAccountsForSplicedBytes(t *testing.T) {
	d := bodyOf(header.Length, 1000)
	if _, n, _, _ := d.Next(make([]byte, 100)); n != 100 || d.Remaining() != 900 {
		t.Fatalf("used %d, %d remain", n, d.Remaining())
	}
	d.Skip(899)
	if d.Remaining() != 1 || d.Complete() {
		t.Errorf("%d remain, complete %v", d.Remaining(), d.Complete())
	}
	d.Skip(1)
	if d.Remaining() != 0 || !d.Complete() {
		t.Errorf("%d remain, complete %v", d.Remaining(), d.Complete())
	}
	d = bodyOf(header.Chunked, -1)
	d.Next([]byte("a\r\n0"))
	if d.Remaining() != 9 {
		t.Errorf("%d remain of the chunk", d.Remaining())
	}
	d.Skip(9)
	if got := decode(t, d, "\r\n0\r\n\r\n", nil); !got.done || got.e != OK {
		t.Errorf("after a skipped chunk %+v", got)
	}
	d.InitTunnel()
	d.Skip(5)
	if d.Remaining() != -1 || d.Complete() {
		t.Error("a tunnel has no end to skip to")
	}
}

// TestChunkedRoundTrip encodes random runs and reads them back with random cuts.
func TestChunkedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire, want []byte
		for _, run := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 70), 0, 8).Draw(t, "runs") {
			wire = AppendChunk(wire, len(run))
			if len(run) > 0 {
				wire = AppendChunkEnd(append(wire, run...))
			}
			want = append(want, run...)
		}
		var trailers header.Head
		trailers.Reset(nil)
		wantTrailers := ""
		for i := range rapid.IntRange(0, 3).Draw(t, "trailers") {
			trailers.AddString(header.Unknown, fmt.Sprintf("x-%d", i), "v")
			wantTrailers += fmt.Sprintf("[x-%d=v]", i)
		}
		wire = AppendLastChunk(wire, &trailers)
		end := len(wire)
		wire = append(wire, "next"...)
		cuts := rapid.SliceOfN(rapid.IntRange(0, len(wire)), 0, 6).Draw(t, "cuts")
		slices.Sort(cuts)
		got := decode(t, bodyOf(header.Chunked, -1), string(wire), cuts)
		if got != (decoded{string(want), end, true, OK, wantTrailers}) {
			t.Fatalf("%q with cuts %v\n got %+v", wire, cuts, got)
		}
	})
}

func TestAppendChunk(t *testing.T) {
	for n, want := range map[int]string{
		-1: "", 0: "", 1: "1\r\n", 15: "f\r\n", 16: "10\r\n", 255: "ff\r\n", 4096: "1000\r\n",
		math.MaxInt32: "7fffffff\r\n",
	} {
		if got := AppendChunk(nil, n); string(got) != want {
			t.Errorf("AppendChunk(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestLastChunkWritesWhatMayBeATrailer(t *testing.T) {
	var h header.Head
	h.Reset(nil)
	h.AddString(header.ContentLength, "", "5")
	h.AddBytes(header.Unknown, []byte("X-Sum"), []byte("1"))
	h.AddString(header.GrpcStatus, "", "0")
	for c, want := range map[HeaderCase]string{
		LowerCase:    "0\r\nx-sum: 1\r\ngrpc-status: 0\r\n\r\n",
		ProperCase:   "0\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n\r\n",
		PreserveCase: "0\r\nX-Sum: 1\r\ngrpc-status: 0\r\n\r\n",
	} {
		if got := AppendLastChunkCase(nil, &h, c); string(got) != want {
			t.Errorf("case %d: %q", c, got)
		}
	}
	if got := AppendLastChunk(nil, nil); !bytes.Equal(got, []byte("0\r\n\r\n")) {
		t.Errorf("without trailers %q", got)
	}
}

package http2

import "testing"

// TestWireReceivedCountsTheFramesOfAStream: heads in pieces, padding and trailers included.
func TestWireReceivedCountsTheFramesOfAStream(t *testing.T) {
	for _, tc := range []struct {
		name   string
		frames []string
		others int // bytes that are not the stream's
	}{
		{"a head in one frame", []string{"headers 1 post"}, 0},
		{"a head in pieces", []string{"headers 1 more post", "cont 1 more x-a=b", "cont 1 x-c=d"}, 0},
		{"padded data", []string{"headers 1 post", "data 1 abc", "padded 1 150 abc"}, 0},
		{"trailers", []string{"headers 1 post", "data 1 abc", "headers 1 end x-sum=1"}, 0},
		{"frames of the connection do not count", []string{"headers 1 post", "ping", "data 1 abc"}, 17},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, false, nil)
			b := p.frames(tc.frames...)
			if e := w.feed(t, b); e != OK {
				t.Fatal(e.Explain())
			}
			if got, want := w.streams[1].WireReceived(), uint64(len(b)-tc.others); got != want {
				t.Errorf("%d bytes, want %d", got, want)
			}
		})
	}
}

func TestHeadPending(t *testing.T) {
	w, p := begin(t, false, nil)
	for _, step := range []struct {
		frame string
		want  bool
	}{{"headers 1 more post", true}, {"cont 1 more x-a=b", true}, {"cont 1 x-c=d", false}} {
		if e := w.feed(t, p.frames(step.frame)); e != OK || w.c.HeadPending() != step.want {
			t.Fatalf("after %s: %s, pending is %v", step.frame, e.Explain(), w.c.HeadPending())
		}
	}
}

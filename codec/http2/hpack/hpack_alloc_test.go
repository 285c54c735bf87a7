//go:build !race

package hpack

import "testing"

func TestNothingAllocates(t *testing.T) {
	for name, fields := range map[string][]benchField{"request": benchRequest, "response": benchResponse} {
		var e Encoder
		e.Init(4096)
		var d Decoder
		d.Init()
		block, text := make([]byte, 0, 1024), make([]byte, 0, 4096)
		exchange := func() {
			block = encodeBench(&e, block[:0], fields)
			i, err := d.Begin(block, text)
			for i < len(block) && err == OK {
				var f Field
				i, err = d.Next(block, i, &f)
			}
			if err != OK {
				t.Fatal(err)
			}
			text = d.Text
		}
		for range 4 {
			exchange()
		}
		if n := testing.AllocsPerRun(100, exchange); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

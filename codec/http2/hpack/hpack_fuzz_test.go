package hpack

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	oracle "golang.org/x/net/http2/hpack"
)

// FuzzDecoderAgainstOracle feeds the same blocks to both decoders: they must agree on what is an error
// and on every field. Blocks are cut from the input by their length bytes.
func FuzzDecoderAgainstOracle(f *testing.F) {
	for _, s := range []string{
		"\x14\x82\x86\x84\x41\x0fwww.example.com\x82\x86\x84\xbe\x58\x08no-cache",
		"\x11\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x04\x82\x86\x84\xbe",
		"\x05\x20\x3f\x10\x82\x84\x0a\x40\x01a\x01b\xbe\x00\x01c\x00",
		"\x08\x10\x01A\x03 \x00\x7f\x04\x0f\x10\x00\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var d Decoder
		d.Init()
		var want []string
		o := oracle.NewDecoder(4096, func(hf oracle.HeaderField) { want = append(want, hf.Name+": "+hf.Value) })
		for len(in) > 0 {
			n := min(int(in[0]), len(in)-1)
			block := in[1 : 1+n]
			in = in[1+n:]
			want = nil
			_, err := o.Write(block)
			if err == nil {
				err = o.Close()
			}
			got, e := decodeAll(&d, block)
			if (err != nil) != (e != OK) {
				if err == nil && stricter(e) {
					return
				}
				t.Fatalf("block %x: %v, by the oracle %v", block, e, err)
			}
			if e != OK {
				return
			}
			if !slices.Equal(got, want) {
				t.Fatalf("block %x\n got %q\nwant %q", block, got, want)
			}
		}
	})
}

// stricter: the oracle lets integers be wider than 32 bits where it discards them anyway, and size
// updates end a block or stand behind it.
func stricter(e Err) bool { return e == ErrInteger || e == ErrTableSize }

// fieldsOf makes name and value pairs, many of them alike, out of fuzzed bytes.
func fieldsOf(in []byte) (out [][2]string) {
	names := []string{"accept", "x-a", "x-request-id", "cookie", "etag", "authorization", "x-very-long-name-of-our-own", ":path", ":authority", ":protocol", "vary"}
	for len(in) >= 2 {
		name := names[int(in[0])%len(names)]
		n := min(int(in[1])*int(in[1])/40, len(in)-2)
		out = append(out, [2]string{name, string(in[2 : 2+n])})
		if in[0] >= 128 {
			in = in[1:] // the same bytes come again shifted
		} else {
			in = in[2+n:]
		}
	}
	return out
}

// FuzzEncoderAgainstOracle encodes blocks while the peer's table size changes; the oracle, and our own
// decoder, must read back what went in.
func FuzzEncoderAgainstOracle(f *testing.F) {
	f.Add([]byte("\x00\x07abc\x01\x07abc\x00\x07abc"), uint32(4096), uint64(1))
	f.Add(bytes.Repeat([]byte{1, 90, 'a', 2, 30, 'b', 130, 20, 'c'}, 40), uint32(200), uint64(2))
	f.Fuzz(func(t *testing.T, in []byte, own uint32, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		own %= 9000
		var e Encoder
		e.Init(own)
		var d Decoder
		d.Init()
		d.limit = 9000
		var got []string
		o := oracle.NewDecoder(4096, func(hf oracle.HeaderField) { got = append(got, hf.Name+": "+hf.Value) })
		o.SetAllowedMaxDynamicTableSize(9000)
		for fields := fieldsOf(in); len(fields) > 0; {
			n := 1 + r.IntN(len(fields))
			var want []string
			block := e.Begin(nil)
			for _, p := range fields[:n] {
				name, value := []byte(p[0]), []byte(p[1])
				if name[0] == ':' {
					block = e.Pseudo(block, pseudoOf(name), value)
				} else {
					block = e.Field(block, header.Lookup(name), name, value, seed%7 == 0)
				}
				want = append(want, p[0]+": "+p[1])
			}
			fields = fields[n:]
			got = nil
			_, err := o.Write(block)
			if err == nil {
				err = o.Close()
			}
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%v\n got %q\nwant %q", err, got, want)
			}
			if got, err := decodeAll(&d, block); err != OK || !slices.Equal(got, want) {
				t.Fatalf("%v\n got %q\nwant %q", err, got, want)
			}
			if r.IntN(4) == 0 {
				e.SetLimit(uint32(r.IntN(9000)))
			}
		}
	})
}

func FuzzHuffman(f *testing.F) {
	f.Add([]byte("www.example.com"))
	f.Add([]byte{0, 255, 10, 13, 22, 249, 1, 2, 3})
	f.Add(binary.BigEndian.AppendUint32(nil, 0xffffffff))
	f.Fuzz(func(t *testing.T, in []byte) {
		coded := appendHuffman(nil, in)
		if want := oracle.AppendHuffmanString(nil, string(in)); !bytes.Equal(coded, want) || huffmanLen(in) != len(want) {
			t.Fatalf("%x in code is %x, want %x", in, coded, want)
		}
		if back, ok := appendHuffmanDecoded([]byte("p"), coded); !ok || string(back[1:]) != string(in) {
			t.Fatalf("%x comes back as %x, %v", in, back, ok)
		}
		want, err := oracle.HuffmanDecodeToString(in)
		got, ok := appendHuffmanDecoded(nil, in)
		if ok != (err == nil) || ok && string(got) != want {
			t.Fatalf("%x decodes to %x, %v; by the oracle %x, %v", in, got, ok, want, err)
		}
	})
}

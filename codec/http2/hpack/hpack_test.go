package hpack

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

// nameOf is the name of a decoded field, wherever it is kept.
func nameOf(d *Decoder, f *Field) string {
	switch {
	case f.Pseudo != Regular && f.Pseudo != OtherPseudo:
		return f.Pseudo.String()
	case f.ID != header.Unknown && f.Name.Len == 0:
		return f.ID.String()
	}
	return string(d.Text[f.Name.Off : f.Name.Off+f.Name.Len])
}

// decodeAll reads a whole block as "name: value" lines.
func decodeAll(d *Decoder, block []byte) (fields []string, e Err) {
	i, e := d.Begin(block, nil)
	for e == OK && i < len(block) {
		var f Field
		if i, e = d.Next(block, i, &f); e == OK {
			name := nameOf(d, &f)
			value := string(d.Text[f.Value.Off : f.Value.Off+f.Value.Len])
			if int(f.Size) != len(name)+len(value) {
				return nil, 255
			}
			fields = append(fields, name+": "+value)
		}
	}
	return fields, e
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestExamplesOfRFC7541C runs each series of blocks through one decoder.
func TestExamplesOfRFC7541C(t *testing.T) {
	requests := []string{
		":method: GET|:scheme: http|:path: /|:authority: www.example.com",
		":method: GET|:scheme: http|:path: /|:authority: www.example.com|cache-control: no-cache",
		":method: GET|:scheme: https|:path: /index.html|:authority: www.example.com|custom-key: custom-value",
	}
	responses := []string{
		":status: 302|cache-control: private|date: Mon, 21 Oct 2013 20:13:21 GMT|location: https://www.example.com",
		":status: 307|cache-control: private|date: Mon, 21 Oct 2013 20:13:21 GMT|location: https://www.example.com",
		":status: 200|cache-control: private|date: Mon, 21 Oct 2013 20:13:22 GMT|location: https://www.example.com|content-encoding: gzip|set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
	}
	for _, tc := range []struct {
		name   string
		max    uint32
		blocks []string
		want   []string
		sizes  []uint32
	}{
		{"C.2 literals", 4096, []string{
			"400a637573746f6d2d6b65790d637573746f6d2d686561646572", "040c2f73616d706c652f70617468",
			"100870617373776f726406736563726574", "82",
		}, []string{"custom-key: custom-header", ":path: /sample/path", "password: secret", ":method: GET"}, []uint32{55, 55, 55, 55}},
		{"C.3 requests", 4096, []string{
			"828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
			"828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
		}, requests, []uint32{57, 110, 164}},
		{"C.4 requests in Huffman code", 4096, []string{
			"828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
			"828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
		}, requests, []uint32{57, 110, 164}},
		{"C.5 responses with a table of 256", 256, []string{
			"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
			"4803333037c1c0bf",
			"88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
		}, responses, []uint32{222, 222, 215}},
		{"C.6 responses in Huffman code with a table of 256", 256, []string{
			"488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
			"4883640effc1c0bf",
			"88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
		}, responses, []uint32{222, 222, 215}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var d Decoder
			d.Init()
			d.table.setMax(tc.max)
			for i, block := range tc.blocks {
				got, e := decodeAll(&d, unhex(t, block))
				if e != OK || strings.Join(got, "|") != tc.want[i] {
					t.Fatalf("block %d: %v\n got %s\nwant %s", i, e, strings.Join(got, "|"), tc.want[i])
				}
				if d.table.size != tc.sizes[i] {
					t.Errorf("block %d: table size %d, want %d", i, d.table.size, tc.sizes[i])
				}
			}
		})
	}
}

func TestIntegers(t *testing.T) {
	for _, tc := range []struct {
		hex  string
		n    uint
		want uint32
		e    Err
	}{
		{"0a", 5, 10, OK},       // C.1.1
		{"1f9a0a", 5, 1337, OK}, // C.1.2
		{"2a", 8, 42, OK},       // C.1.3
		{"1f00", 5, 31, OK},     // the prefix filled and nothing more
		{"1f8000", 5, 31, OK},   // a padded form that still fits
		{"1fe0ffffff0f", 5, 1<<32 - 1, OK},
		{"1fe1ffffff0f", 5, 0, ErrInteger},
		{"1f808080808000", 5, 0, ErrInteger},
		{"1fffffffffff", 5, 0, ErrInteger},
		{"1f80", 5, 0, ErrTruncated},
		{"1f", 5, 0, ErrTruncated},
		{"", 5, 0, ErrTruncated},
	} {
		b := unhex(t, tc.hex)
		v, end, e := readInt(b, 0, tc.n)
		if v != tc.want || e != tc.e || e == OK && end != len(b) {
			t.Errorf("%s: %d, %d, %v", tc.hex, v, end, e)
		}
	}
	for _, v := range []uint32{0, 1, 30, 31, 32, 158, 159, 1337, 1<<16 - 1, 1<<28 + 5, 1<<32 - 1} {
		for n := uint(4); n <= 7; n++ {
			if got, _, e := readInt(appendInt(nil, 0, n, v), 0, n); got != v || e != OK {
				t.Errorf("%d with a prefix of %d: %d, %v", v, n, got, e)
			}
		}
	}
}

func TestBlocksThatAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name, hex string
		want      Err
	}{
		{"index zero (6.1)", "80", ErrIndex},
		{"index past the static table with an empty dynamic one", "be", ErrIndex},
		{"index beyond every table", "ffffffff0f", ErrIndex},
		{"name index beyond both tables", "7f00", ErrIndex},
		{"string longer than the block", "4005616263", ErrTruncated},
		{"name without a value", "40016103", ErrTruncated},
		{"value missing", "400161", ErrTruncated},
		{"literal that ends at its first byte", "40", ErrTruncated},
		{"index cut", "ff", ErrTruncated},
		{"name index cut", "7f", ErrTruncated},
		{"string length cut", "44ff", ErrTruncated},
		{"size update cut", "3f", ErrTruncated},
		{"padding of eight bits (5.2)", "448283ff", ErrHuffman},
		{"padding with a zero (5.2)", "44811e", ErrHuffman},
		{"EOS in a string (5.2)", "4484ffffffff", ErrHuffman},
		{"size update over the limit (4.2)", "3fe21f", ErrTableSize},
		{"size update behind a field (4.2)", "8220", ErrTableSize},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var d Decoder
			d.Init()
			if _, e := decodeAll(&d, unhex(t, tc.hex)); e != tc.want {
				t.Errorf("got %v, want %v", e, tc.want)
			}
		})
	}
}

func TestSmallerTableMustBeConfirmed(t *testing.T) {
	var d Decoder
	d.Init()
	if _, e := decodeAll(&d, unhex(t, "4001610162")); e != OK {
		t.Fatal(e)
	}
	d.SetLimit(0)
	before := d
	if _, e := decodeAll(&d, unhex(t, "82")); e != ErrTableSize {
		t.Errorf("a block without the update: %v", e)
	}
	d = before
	if _, e := decodeAll(&d, unhex(t, "2082")); e != OK || d.table.count != 0 {
		t.Errorf("a block with it: %v, %d entries left", e, d.table.count)
	}
	if _, e := decodeAll(&d, unhex(t, "2182")); e != ErrTableSize {
		t.Errorf("a size over the new limit: %v", e)
	}
}

func TestEntryLargerThanTheTableEmptiesIt(t *testing.T) {
	var d Decoder
	d.Init()
	d.table.setMax(64)
	_, e := decodeAll(&d, unhex(t, "4001610162"))
	if e != OK || d.table.count != 1 {
		t.Fatal(e, d.table.count)
	}
	long := append(unhex(t, "400161"), appendString(nil, []byte(strings.Repeat("~", 40)))...)
	if _, e = decodeAll(&d, long); e != OK || d.table.count != 0 || d.table.size != 0 {
		t.Errorf("%v: %d entries, size %d", e, d.table.count, d.table.size)
	}
}

func TestTraits(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		want        Traits
	}{
		{"x-a", "b", 0},
		{"accept", "b", 0},
		{"x_a", "b", Underscore},
		{"X-a", "b", BadName},
		{"Accept", "b", BadName},
		{"x a", "b", BadName},
		{"", "b", BadName},
		{"x:a", "b", BadName},
		{"x-\xff", "b", BadName},
		{"x-a", "", 0},
		{"x-a", "a\tb c\x80\xff", 0},
		{"x-a", " b", BadValue},
		{"x-a", "b\t", BadValue},
		{"x-a", "long enough\r\nfor words", BadValue},
		{"x-a", "a\x00b", BadValue},
		{"x-a", "12345678\t\x7f12345678", BadValue},
		{":path", "a\nb", BadValue},
	} {
		var d Decoder
		d.Init()
		block := appendString(appendString([]byte{0x40}, []byte(tc.name)), []byte(tc.value))
		for _, b := range [][]byte{block, {0x80 | numStatic + 1}} {
			var f Field
			i, _ := d.Begin(b, nil)
			if _, e := d.Next(b, i, &f); e != OK || f.Traits != tc.want {
				t.Errorf("%q: %q as %x: %b, %v", tc.name, tc.value, b, f.Traits, e)
			}
		}
	}
	var d Decoder
	d.Init()
	var f Field
	if _, e := d.Next(unhex(t, "100870617373776f726406736563726574"), 0, &f); e != OK || f.Traits != NeverIndexed {
		t.Errorf("never indexed: %b, %v", f.Traits, e)
	}
	if _, e := d.Next(appendString([]byte{0, 2, ':', 'x'}, nil), 0, &f); e != OK || f.Pseudo != OtherPseudo {
		t.Errorf(":x is %v, %v", f.Pseudo, e)
	}
}

func TestDiscardKeepsTheTable(t *testing.T) {
	var d, whole Decoder
	d.Init()
	whole.Init()
	block := unhex(t, "828684410f7777772e6578616d706c652e636f6d 400a637573746f6d2d6b65790d637573746f6d2d686561646572 be bf 040c2f73616d706c652f70617468")
	if _, e := decodeAll(&whole, block); e != OK {
		t.Fatal(e)
	}
	i, e := d.Begin(block, nil)
	d.Discard()
	for e == OK && i < len(block) {
		var f Field
		i, e = d.Next(block, i, &f)
	}
	if e != OK || len(d.Text) != 0 {
		t.Errorf("%v, %d bytes of text kept", e, len(d.Text))
	}
	if d.table.size != whole.table.size || d.table.count != whole.table.count {
		t.Errorf("the table has %d entries, %d when read", d.table.count, whole.table.count)
	}
	if got, e := decodeAll(&d, unhex(t, "be bf")); e != OK || strings.Join(got, "|") != "custom-key: custom-header|:authority: www.example.com" {
		t.Errorf("afterwards %v %v", got, e)
	}
}

// forms names how each field of a block is written.
func forms(t *testing.T, block []byte) string {
	t.Helper()
	var d Decoder
	d.Init()
	d.table.max, d.limit = 1<<20, 1<<20
	var out []string
	for i := 0; i < len(block); {
		c := block[i]
		switch {
		case c >= 0x80:
			out = append(out, "index")
			_, end, _ := readInt(block, i, 7)
			i = end
			continue
		case c >= 0x40:
			out = append(out, "add")
		case c >= 0x20:
			out = append(out, "size")
			_, end, _ := readInt(block, i, 5)
			i = end
			continue
		case c >= 0x10:
			out = append(out, "never")
		default:
			out = append(out, "plain")
		}
		var f Field
		end, e := d.Next(block, i, &f)
		if e != OK {
			t.Fatal(e)
		}
		i = end
	}
	return strings.Join(out, " ")
}

func TestEncoderIndexesWhatComesAgain(t *testing.T) {
	var e Encoder
	e.Init(4096)
	changing := 0
	block := func() []byte {
		changing++
		b := e.Status(e.Begin(nil), 200)
		b = e.Field(b, header.Server, nil, []byte("sluice"), false)
		b = e.Field(b, header.Unknown, []byte("x-own"), []byte("same"), false)
		b = e.Field(b, header.XRequestID, nil, fmt.Append(nil, "id ", changing), false)
		b = e.Field(b, header.Authorization, nil, []byte("Basic x"), false)
		b = e.Field(b, header.Cookie, nil, []byte("a=b"), false)
		b = e.Field(b, header.Cookie, nil, []byte("session=0123456789abcdef"), false)
		return e.Field(b, header.Via, nil, []byte("1.1 x"), true)
	}
	for i, want := range []string{
		"index plain plain plain never never plain never",
		"index add add plain never never add never",
		"index index index plain never never index never",
		"index index index plain never never index never",
	} {
		if got := forms(t, block()); got != want {
			t.Errorf("block %d: %s, want %s", i, got, want)
		}
	}
}

func TestEncoderAnnouncesTableSizes(t *testing.T) {
	for _, tc := range []struct {
		name string
		own  uint32
		set  []uint32
		want string
	}{
		{"the default needs no update", 4096, nil, ""},
		{"less of our own is announced", 100, nil, "3f45"},
		{"none", 0, nil, "20"},
		{"a peer with less", 4096, []uint32{1024}, "3fe107"},
		{"a peer with more than we want", 4096, []uint32{65536}, ""},
		{"a peer with more, which we want", 65536, []uint32{65536}, "3fe1ff03"},
		{"down and up again gives both (4.2)", 4096, []uint32{0, 4096}, "203fe11f"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var e Encoder
			e.Init(tc.own)
			for _, n := range tc.set {
				e.SetLimit(n)
			}
			if got := hex.EncodeToString(e.Begin(nil)); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if len(e.Begin(nil)) != 0 {
				t.Error("announced twice")
			}
		})
	}
}

func TestStaticTableKnowsItsNames(t *testing.T) {
	for i := 1; i <= numStatic; i++ {
		s := &statics[i]
		first := staticOfName([]byte(s.name))
		switch {
		case s.pseudo != Regular:
			first = staticOfPseudo[s.pseudo]
		case s.id != header.Unknown:
			first = staticOfKnown[s.id]
		}
		if first == 0 || statics[first].name != s.name || int(first) > i {
			t.Errorf("%s is looked up as %d", s.name, first)
		}
	}
}

func TestErrorsExplainThemselves(t *testing.T) {
	seen := map[string]bool{}
	for e := OK; e <= ErrTableSize; e++ {
		if s := e.String(); s == "unknown" || seen[s] {
			t.Errorf("%d is %q", e, s)
		} else {
			seen[s] = true
		}
	}
	if Err(200).String() != "unknown" || OtherPseudo.String() != "" || Protocol.String() != ":protocol" {
		t.Error("names outside the tables")
	}
}

func TestTablesStayBounded(t *testing.T) {
	var d Decoder
	d.Init()
	for i := range 20000 {
		block := appendString(appendString([]byte{0x40}, fmt.Append(nil, "x-", i)), []byte(strings.Repeat("v", i%300)))
		if _, e := decodeAll(&d, block); e != OK {
			t.Fatal(e)
		}
		if d.table.size > 4096 || cap(d.table.text) > 2*(4096+300) || len(d.table.ring) > 128 {
			t.Fatalf("size %d, text %d, ring %d", d.table.size, cap(d.table.text), len(d.table.ring))
		}
	}
}

func TestNamesFromTheDynamicTable(t *testing.T) {
	var d Decoder
	d.Init()
	// Entries 63: x_a=1, 62: via=2 (via spelled out); then a literal of each form with their names.
	block := appendString(appendString([]byte{0x40}, []byte("x_a")), []byte("1"))
	block = appendString(appendString(append(block, 0x40), []byte("via")), []byte("2"))
	if _, e := decodeAll(&d, block); e != OK {
		t.Fatal(e)
	}
	block = appendString(appendInt(nil, 0x40, 6, 63), []byte("3"))
	block = appendString(appendInt(block, 0, 4, 63), []byte("4"))
	block = appendString(appendInt(block, 0x10, 4, 64), []byte("5"))
	before := d
	got, e := decodeAll(&d, block)
	if want := "x_a: 3|via: 4|x_a: 5"; e != OK || strings.Join(got, "|") != want {
		t.Errorf("%v %v", got, e)
	}
	// The traits of the name come along, and the table stays in step when the fields are discarded.
	var f Field
	if _, e := before.Next(block, 0, &f); e != OK || f.Traits != Underscore {
		t.Errorf("traits %b, %v", f.Traits, e)
	}
	before.Discard()
	if _, e := before.Next(block, 0, &f); e != OK || before.table.count != 4 {
		t.Errorf("%d entries, %v", before.table.count, e)
	}
}

func TestEveryStatusAndPseudoHeaderIsReadBack(t *testing.T) {
	var e Encoder
	e.Init(4096)
	var d Decoder
	d.Init()
	for status := uint16(100); status < 1000; status++ {
		got, err := decodeAll(&d, e.Status(e.Begin(nil), status))
		if want := fmt.Sprint(":status: ", status); err != OK || len(got) != 1 || got[0] != want {
			t.Fatalf("%v, want %s", got, want)
		}
	}
	for _, want := range []string{":method: GET", ":method: POST", ":method: PUT", ":scheme: http", ":scheme: https", ":scheme: ws", ":path: /", ":path: /index.html", ":path: *", ":authority: a", ":protocol: websocket"} {
		name, value, _ := strings.Cut(want, ": ")
		for range 3 {
			got, err := decodeAll(&d, e.Pseudo(nil, pseudoOf([]byte(name)), []byte(value)))
			if err != OK || len(got) != 1 || got[0] != want {
				t.Errorf("%v, want %s", got, want)
			}
		}
	}
}

func TestEncoderWithoutATable(t *testing.T) {
	var e Encoder
	e.Init(0)
	e.Begin(nil)
	for range 3 {
		if got := forms(t, e.Field(nil, header.Server, nil, []byte("x"), false)); got != "plain" {
			t.Errorf("%s", got)
		}
	}
	if e.slots != nil || e.table.text != nil {
		t.Error("memory for nothing")
	}
}

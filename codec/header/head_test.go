package header

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// pushLine pushes a field over base text "name:value" that starts at off.
func pushLine(h *Head, off, nameLen, valueLen int) {
	name := Span{uint32(off), uint32(nameLen)}
	value := Span{uint32(off + nameLen + 1), uint32(valueLen)}
	h.Push(name, value, Lookup(h.Bytes(name)))
}

func headOf(lines ...string) *Head {
	h := &Head{}
	h.Reset([]byte(strings.Join(lines, "")))
	off := 0
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		pushLine(h, off, len(name), len(value))
		off += len(line)
	}
	return h
}

func dump(h *Head) string {
	var b strings.Builder
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Dead {
			fmt.Fprintf(&b, "%s=%s;", h.NameOf(f), h.Bytes(f.Value))
		}
	}
	return b.String()
}

func TestLookupFindsEveryKnownNameInAnyCase(t *testing.T) {
	for k := Unknown + 1; k < numKnown; k++ {
		name := k.String()
		if name == "" {
			t.Fatalf("Known(%d) has no name", k)
		}
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			if got := Lookup([]byte(spelling)); got != k {
				t.Errorf("Lookup(%q) = %v, want %v", spelling, got, k)
			}
		}
	}
}

func TestLookupRefusesEveryNearMiss(t *testing.T) {
	for k := Unknown + 1; k < numKnown; k++ {
		name := []byte(k.String())
		for i := range name {
			for _, flip := range []byte{1, 0x20, 0x40, 0x80} {
				near := bytes.Clone(name)
				near[i] ^= flip
				want := Unknown
				for other := Unknown + 1; other < numKnown; other++ {
					if strings.EqualFold(string(near), other.String()) && isASCII(near) {
						want = other
					}
				}
				if got := Lookup(near); got != want {
					t.Errorf("Lookup(%q) = %v, want %v", near, got, want)
				}
			}
		}
		for _, near := range []string{string(name) + "s", string(name[1:]), "x" + string(name)} {
			if got := Lookup([]byte(near)); got != Unknown && got.String() != near {
				t.Errorf("Lookup(%q) = %v", near, got)
			}
		}
	}
	for _, none := range []string{"", "t", "x"} {
		if got := Lookup([]byte(none)); got != Unknown {
			t.Errorf("Lookup(%q) = %v", none, got)
		}
	}
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

func FuzzLookupAgreesWithFolding(f *testing.F) {
	f.Add([]byte("X-Forwarded-For"))
	f.Add([]byte("x_forwarded-for"))
	f.Add([]byte("te"))
	f.Fuzz(func(t *testing.T, name []byte) {
		want := Unknown
		for k := Unknown + 1; k < numKnown; k++ {
			if foldEqual(name, knownBytes[k]) {
				want = k
			}
			if foldEqual(name, knownBytes[k]) != EqualFold(name, knownNames[k]) {
				t.Fatalf("the two foldings differ on %q", name)
			}
		}
		if got := Lookup(name); got != want {
			t.Fatalf("Lookup(%q) = %v, want %v", name, got, want)
		}
	})
}

// TestResetClearsEveryField sets every field of a head to something and compares with a fresh one.
func TestResetClearsEveryField(t *testing.T) {
	h := &Head{}
	v := reflect.ValueOf(h).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		f = reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
		switch f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Int64:
			f.SetInt(7)
		case reflect.Uint8, reflect.Uint16, reflect.Uint32:
			f.SetUint(7)
		case reflect.Struct: // Span
			f.Set(reflect.ValueOf(Span{3, 4}))
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 3, 8))
		case reflect.Array:
			f.Index(5).SetUint(9)
		default:
			t.Fatalf("field %s is of a kind this test does not fill", v.Type().Field(i).Name)
		}
	}
	base := []byte("base")
	h.Reset(base)
	if len(h.Fields) != 0 || len(h.own) != 0 || len(h.extra) != 0 {
		t.Error("storage is not empty after Reset")
	}
	h.Fields, h.own, h.extra = nil, nil, nil
	want := &Head{base: base, ContentLength: -1}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("after Reset: %+v", h)
	}
}

func TestResetGivesBackStorageOverTheBound(t *testing.T) {
	h := &Head{}
	h.Reset(make([]byte, 2*keepBytes))
	h.Retain()
	h.Set(Server, make([]byte, 2*keepBytes))
	for range keepFields + 1 {
		h.AddString(Unknown, "a", "b")
	}
	h.Reset(nil)
	if cap(h.own) != 0 || cap(h.extra) != 0 || cap(h.Fields) != 0 {
		t.Errorf("kept own %d, extra %d, fields %d", cap(h.own), cap(h.extra), cap(h.Fields))
	}
}

func TestRetainOutlivesTheBuffer(t *testing.T) {
	buf := []byte("Accept:text/html")
	h := &Head{}
	h.Reset(buf)
	pushLine(h, 0, 6, 9)
	h.Retain()
	h.Retain()
	copy(buf, "################")
	if got := string(h.Get(Accept)); got != "text/html" {
		t.Errorf("after the buffer was reused the value reads %q", got)
	}
}

func TestSetBaseMovesTheSpans(t *testing.T) {
	h := headOf("Accept:a")
	h.SetBase([]byte("Accept:a"))
	if string(h.Get(Accept)) != "a" || string(h.Base()) != "Accept:a" {
		t.Error("spans do not follow SetBase")
	}
}

func TestFieldEdits(t *testing.T) {
	lines := []string{"Accept:1", "x-one:2", "ACCEPT:3", "X-One:4", "via:5"}
	tests := []struct {
		name string
		edit func(h *Head)
		want string
	}{
		{"nothing", func(*Head) {}, "Accept=1;x-one=2;ACCEPT=3;X-One=4;via=5;"},
		{"set keeps the first place and drops the others", func(h *Head) { h.Set(Accept, []byte("n")) }, "Accept=n;x-one=2;X-One=4;via=5;"},
		{"set string of a new name goes last", func(h *Head) { h.SetString(Server, "s") }, "Accept=1;x-one=2;ACCEPT=3;X-One=4;via=5;server=s;"},
		{"add keeps the others", func(h *Head) { h.Add(Via, "via", []byte("6")) }, "Accept=1;x-one=2;ACCEPT=3;X-One=4;via=5;via=6;"},
		{"add of an unknown name", func(h *Head) { h.AddString(Unknown, "x-two", "6") }, "Accept=1;x-one=2;ACCEPT=3;X-One=4;via=5;x-two=6;"},
		{"add keeps a spelling", func(h *Head) { h.AddBytes(Via, []byte("VIA"), []byte("6")) }, "Accept=1;x-one=2;ACCEPT=3;X-One=4;via=5;VIA=6;"},
		{"append joins", func(h *Head) { h.Append(Via, ", ", []byte("6")); h.Append(Via, ",", []byte("7")) }, "Accept=1;x-one=2;ACCEPT=3;X-One=4;via=5, 6,7;"},
		{"append to nothing adds", func(h *Head) { h.Append(Server, ", ", []byte("s")) }, "Accept=1;x-one=2;ACCEPT=3;X-One=4;via=5;server=s;"},
		{"remove takes all of a name", func(h *Head) { h.Remove(Accept) }, "x-one=2;X-One=4;via=5;"},
		{"remove by unknown name folds", func(h *Head) { h.RemoveName(Unknown, "x-one") }, "Accept=1;ACCEPT=3;via=5;"},
		{"remove by any spelling", func(h *Head) { h.RemoveFold([]byte("X-ONE")); h.RemoveFold([]byte("VIA")) }, "Accept=1;ACCEPT=3;"},
		{"remove one uncovers the next", func(h *Head) { h.RemoveAt(0); h.Set(Accept, []byte("n")) }, "x-one=2;ACCEPT=n;X-One=4;via=5;"},
		{"remove the second leaves the first", func(h *Head) { h.RemoveAt(2); h.Set(Accept, []byte("n")) }, "Accept=n;x-one=2;X-One=4;via=5;"},
		{"set at", func(h *Head) { h.SetAt(1, []byte("n")) }, "Accept=1;x-one=n;ACCEPT=3;X-One=4;via=5;"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := headOf(lines...)
			tt.edit(h)
			if got := dump(h); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
			if h.Count() != strings.Count(tt.want, ";") {
				t.Errorf("Count = %d", h.Count())
			}
		})
	}
}

func TestSearch(t *testing.T) {
	h := headOf("x-one:1", "Accept:2", "X-One:3", "accept:4")
	if i := h.Find(Unknown, "x-one"); i != 0 || h.Next(i) != 2 || h.Next(2) != -1 {
		t.Error("unknown names are not walked by name")
	}
	if i := h.Find(Accept, "accept"); i != 1 || h.Next(i) != 3 || h.Next(3) != -1 {
		t.Error("known names are not walked")
	}
	if h.Find(Unknown, "x-two") != -1 || h.Find(Via, "via") != -1 || h.Has(Via) || h.Get(Via) != nil {
		t.Error("found what is not there")
	}
	h.RemoveAt(0)
	if i := h.Find(Unknown, "x-one"); i != 2 {
		t.Errorf("after removal the first x-one is at %d", i)
	}
}

func TestPseudoValues(t *testing.T) {
	h := &Head{}
	h.Reset(nil)
	h.SetMethod(MethodGet, "GET")
	h.SetPath([]byte("/a"))
	h.SetAuthority([]byte("h:1"))
	h.SetScheme("https")
	got := strings.Join([]string{h.Text(h.MethodText), h.Text(h.Path), h.Text(h.Authority), h.Text(h.Scheme)}, " ")
	if got != "GET /a h:1 https" || h.Method != MethodGet {
		t.Errorf("got %s", got)
	}
	h.SetPathPrefixed("/", []byte("?q"))
	if h.Text(h.Path) != "/?q" {
		t.Errorf("path %s", h.Bytes(h.Path))
	}
}

func TestVersionNames(t *testing.T) {
	for v, want := range map[Version]string{HTTP10: "HTTP/1.0", HTTP11: "HTTP/1.1", HTTP2: "HTTP/2", HTTP3: "HTTP/3", 0: "-"} {
		if v.String() != want {
			t.Errorf("%d is %s, want %s", v, v, want)
		}
	}
}

// TestEditsAgreeWithAModel runs random edits against a plain list of pairs.
func TestEditsAgreeWithAModel(t *testing.T) {
	names := []string{"accept", "via", "x-a", "x-b", "server"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		h := &Head{}
		h.Reset(nil)
		var model [][2]string
		remove := func(name string) {
			kept := model[:0]
			for _, p := range model {
				if p[0] != name {
					kept = append(kept, p)
				}
			}
			model = kept
		}
		for step := range 40 {
			name := names[r.IntN(len(names))]
			id := Lookup([]byte(name))
			value := fmt.Sprint(step)
			switch r.IntN(4) {
			case 0:
				h.AddString(id, name, value)
				model = append(model, [2]string{name, value})
			case 1:
				h.RemoveName(id, name)
				remove(name)
			case 2:
				if id == Unknown {
					continue
				}
				h.SetString(id, value)
				at := -1
				for i, p := range model {
					if p[0] == name {
						at = i
						break
					}
				}
				if at < 0 {
					model = append(model, [2]string{name, value})
					break
				}
				rest := append([][2]string{}, model[at+1:]...)
				model = append(model[:at], [2]string{name, value})
				for _, p := range rest {
					if p[0] != name {
						model = append(model, p)
					}
				}
			case 3:
				if i := h.Find(id, name); i >= 0 {
					h.RemoveAt(i)
					for k, p := range model {
						if p[0] == name {
							model = append(model[:k], model[k+1:]...)
							break
						}
					}
				}
			}
			var want strings.Builder
			for _, p := range model {
				fmt.Fprintf(&want, "%s=%s;", p[0], p[1])
			}
			if got := dump(h); got != want.String() {
				t.Fatalf("seed %d step %d\n got %s\nwant %s", seed, step, got, want.String())
			}
			for _, n := range names {
				k := Lookup([]byte(n))
				if at := h.Find(k, n); (at >= 0) != strings.Contains(";"+want.String(), ";"+n+"=") {
					t.Fatalf("Find(%s) = %d in %s", n, at, want.String())
				}
			}
		}
	}
}

func TestSizeCountsWhatIsThere(t *testing.T) {
	h := headOf("Host:a", "X-One:12", "accept:")
	h.AddString(Unknown, "x-two", "3")
	if fields, bytes := h.Size(); fields != 4 || bytes != len("Hosta"+"X-One12"+"accept"+"x-two3") {
		t.Errorf("%d fields of %d bytes", fields, bytes)
	}
	h.Remove(Host)
	h.SetMethod(MethodGet, "GET")
	h.SetPath([]byte("/p"))
	h.SetScheme("http")
	h.SetAuthority([]byte("b"))
	if fields, bytes := h.Size(); fields != 7 || bytes != len("X-One12"+"accept"+"x-two3"+":methodGET"+":path/p"+":schemehttp"+":authorityb") {
		t.Errorf("%d fields of %d bytes in a request", fields, bytes)
	}
	h.Reset(nil)
	h.Status = 200
	if fields, bytes := h.Size(); fields != 1 || bytes != len(":status200") {
		t.Errorf("%d fields of %d bytes in a response", fields, bytes)
	}
}

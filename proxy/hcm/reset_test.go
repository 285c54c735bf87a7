package hcm

import (
	"reflect"
	"testing"
)

// fill sets v and everything reachable inside its structs and arrays to something that is not zero.
// Interfaces of the package get a value of a type that implements them.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem() // reaches unexported fields too
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Interface:
		for _, candidate := range []any{&serverConn{}, &attempt{}, &stream{}, (*downloadDone)(&attempt{})} {
			if reflect.TypeOf(candidate).Implements(v.Type()) {
				v.Set(reflect.ValueOf(candidate))
				return
			}
		}
		t.Logf("nothing here implements %v", v.Type())
	default:
		t.Fatalf("no garbage for %v", v.Type())
	}
}

func TestResetClearsEveryFieldOfAStream(t *testing.T) {
	// Fields that stay: the free-list link, the mark that late looks find, the name whose storage stays, and
	// the heads, whose Reset keeps storage and is tested where they live.
	keep := map[string]bool{"next": true, "over": true, "req": true, "resp": true, "trail": true, "reqTrail": true, "tlsName": true, "goesTo": true}
	st := &stream{}
	v := reflect.ValueOf(st).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !keep[name] && name != "timer" {
			fill(t, v.Field(i))
		}
	}
	st.att.upload, st.att.download = (&attempt{}).upload, (&attempt{}).download // idle pumps, as at the end of a stream
	st.reset()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		f := v.Field(i)
		f = reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem()
		if !keep[name] && name != "timer" && !f.IsZero() {
			t.Errorf("%s is %+v after reset", name, f)
		}
	}
	if len(st.tlsName) > 0 {
		t.Errorf("tlsName is %q after reset", st.tlsName)
	}
	if !st.over {
		t.Error("a stream on the free list must look over")
	}
	if st.timer.Armed() {
		t.Error("the timer is armed")
	}
}

func TestResetClearsEveryFieldOfTries(t *testing.T) {
	x := &tries{}
	v := reflect.ValueOf(x).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name != "timer" {
			fill(t, v.Field(i))
		}
	}
	x.reset()
	checkEmpty(t, "tries", v, map[string]bool{"tries.timer": true})
}

// checkEmpty says which parts of v are not zero. Of slices storage may stay.
func checkEmpty(t *testing.T, path string, v reflect.Value, keep map[string]bool) {
	t.Helper()
	for i := range v.NumField() {
		name := path + "." + v.Type().Field(i).Name
		f := reflect.NewAt(v.Field(i).Type(), v.Field(i).Addr().UnsafePointer()).Elem()
		switch {
		case keep[name]:
		case f.Kind() == reflect.Struct:
			checkEmpty(t, name, f, keep)
		case f.Kind() == reflect.Slice && f.Len() > 0, f.Kind() != reflect.Slice && !f.IsZero():
			t.Errorf("%s is %+v after reset", name, f)
		}
	}
}

func TestFreeListReusesStreamsAndIsBounded(t *testing.T) {
	var p streamPool
	first := p.Get()
	p.Put(first)
	if p.Get() != first {
		t.Error("a stream that was put back is not used again")
	}
	for range maxKeptStreams + 10 {
		p.Put(&stream{})
	}
	if p.kept != maxKeptStreams {
		t.Errorf("%d streams are kept, the bound is %d", p.kept, maxKeptStreams)
	}
}

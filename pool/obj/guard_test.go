//go:build sluicedebug

package obj

import "testing"

func TestMisuseIsCaught(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(l *List[thing])
	}{
		{"put back twice", func(l *List[thing]) { o := l.Get(); l.Put(o); l.Put(o) }},
		{"never of this list", func(l *List[thing]) { l.Put(new(thing)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			tc.do(new(List[thing]))
		})
	}
}

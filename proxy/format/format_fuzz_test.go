package format

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// What compiles prints without a panic; text that holds no percent sign prints as itself; doubling
// every percent sign always compiles and prints the original.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{"", "%", "%%", "%REQ(A?B):3%", "%START_TIME(%Y-%E3S %s.%3f)%", "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:ms)%", "%GRPC_STATUS(NUMBER)%", "a%PROTOCOL%b%%%HOSTNAME%", "%FILTER_STATE(cluster:FIELD:f):3%", "%DYNAMIC_METADATA(ns):1%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := Compile(s); err == nil {
			for _, i := range []*streaminfo.Info{{}, fullInfo()} {
				c.Append(nil, i)
				if h := string(c.AppendHeader(nil, i)); strings.ContainsAny(h, "\r\n\x00") {
					t.Fatalf("%q gives the header value %q", s, h)
				}
			}
			if text, static := c.Static(); static && text != string(c.Append(nil, fullInfo())) {
				t.Fatalf("%q: static text differs", s)
			}
		} else if !strings.Contains(s, "%") {
			t.Fatalf("%q does not compile: %v", s, err)
		}
		doubled, err := Compile(strings.ReplaceAll(s, "%", "%%"))
		if err != nil {
			t.Fatalf("%q with doubled percent signs: %v", s, err)
		}
		if text, static := doubled.Static(); !static || text != s {
			t.Fatalf("%q came back as %q", s, text)
		}
	})
}

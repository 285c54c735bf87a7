package rbac

import (
	"net/netip"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func requestOf(path string, fields ...string) *header.Head {
	h := new(header.Head)
	h.Reset(nil)
	h.SetPath([]byte(path))
	for i := 0; i < len(fields); i += 2 {
		h.Add(header.Lookup([]byte(fields[i])), fields[i], []byte(fields[i+1]))
	}
	return h
}

func text(kind conf.StringMatchKind, value string) conf.StringMatcher {
	return conf.StringMatcher{Kind: kind, Value: value}
}

func TestRulesOfRequests(t *testing.T) {
	meta := new(streaminfo.Metadata)
	meta.Set("ns", "k", []byte("v"))
	metadata := func(key string, invert bool, values ...conf.StringMatcher) *conf.RBACRule {
		return &conf.RBACRule{Kind: conf.RBACMetadata, Metadata: &conf.MetadataMatcher{Namespace: "ns", Key: key, Values: values, Invert: invert}}
	}
	role := &conf.RBACRule{Kind: conf.RBACHeader, Header: &conf.HeaderMatcher{Name: "x-role", Kind: conf.MatchExact, Value: "admin"}}
	from := func(kind conf.RBACRuleKind, prefix string) *conf.RBACRule {
		return &conf.RBACRule{Kind: kind, Prefix: netip.MustParsePrefix(prefix)}
	}
	for _, row := range []struct {
		title string
		rule  *conf.RBACRule
		h     *header.Head
		want  bool
	}{
		{"header", role, requestOf("/", "x-role", "admin"), true},
		{"another value", role, requestOf("/", "x-role", "user"), false},
		{"no header", role, requestOf("/"), false},
		{"path", &conf.RBACRule{Kind: conf.RBACURLPath, Name: text(conf.MatchExact, "/a")}, requestOf("/a"), true},
		{"path without its query", &conf.RBACRule{Kind: conf.RBACURLPath, Name: text(conf.MatchExact, "/a")}, requestOf("/a?b#c"), true},
		{"path, no", &conf.RBACRule{Kind: conf.RBACURLPath, Name: text(conf.MatchExact, "/a")}, requestOf("/ab"), false},
		{"metadata", metadata("k", false, text(conf.MatchExact, "v")), requestOf("/"), true},
		{"metadata, one of several", metadata("k", false, text(conf.MatchExact, "x"), text(conf.MatchPrefix, "v")), requestOf("/"), true},
		{"metadata, another value", metadata("k", false, text(conf.MatchExact, "x")), requestOf("/"), false},
		{"metadata, inverted", metadata("k", true, text(conf.MatchExact, "x")), requestOf("/"), true},
		{"metadata, there", metadata("k", false), requestOf("/"), true},
		{"metadata, not there", metadata("other", false), requestOf("/"), false},
		{"metadata, absent", metadata("other", true), requestOf("/"), true},
		{"authenticated, on a plain connection", &conf.RBACRule{Kind: conf.RBACAuthenticated, Present: true}, requestOf("/"), false},
		{"remote address as forwarded", from(conf.RBACRemoteIP, "192.0.2.0/24"), requestOf("/"), true},
		{"source address of the connection", from(conf.RBACSourceIP, "10.0.0.0/8"), requestOf("/"), true},
		{"source address, not as forwarded", from(conf.RBACSourceIP, "192.0.2.0/24"), requestOf("/"), false},
		{"a rule of requests on a connection", role, nil, false},
	} {
		t.Run(row.title, func(t *testing.T) {
			rules, err := Compile(&conf.RBAC{Policies: []conf.RBACPolicy{{
				Name: "p", Permissions: []*conf.RBACRule{row.rule}, Principals: []*conf.RBACRule{{}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			conn := &streaminfo.Connection{Remote: netip.MustParseAddrPort("10.1.2.3:4"), Local: netip.MustParseAddrPort("10.0.0.1:80")}
			info := &streaminfo.Info{Conn: conn, RemoteAddress: netip.MustParseAddrPort("192.0.2.9:0"), Metadata: meta}
			in := &Input{Conn: conn, Info: info, Request: row.h}
			if got, _ := rules.Judge(in); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
			if n := testing.AllocsPerRun(100, func() { rules.Judge(in) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	for _, bad := range []*conf.RBACRule{
		{Kind: conf.RBACHeader}, {Kind: conf.RBACMetadata}, {Kind: conf.RBACMetadata, Metadata: &conf.MetadataMatcher{Key: "k"}}, {Kind: 99},
		{Kind: conf.RBACURLPath, Name: text(conf.MatchRegex, "(")},
	} {
		if _, err := Compile(&conf.RBAC{Policies: []conf.RBACPolicy{{Permissions: []*conf.RBACRule{bad}, Principals: []*conf.RBACRule{{}}}}}); err == nil {
			t.Errorf("%+v is compiled", bad)
		}
	}
}

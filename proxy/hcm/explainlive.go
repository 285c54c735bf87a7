package hcm

import (
	"fmt"
	"strings"

	"github.com/sluiceproxy/sluice/codec/header"
)

// explainHeader asks for an explanation of the request that carries it, and carries the explanation in the
// response. Only clients whose socket address is in runtime sluice.explain.trusted_addresses get one;
// nobody by default.
const (
	explainHeader = "x-sluice-explain"
	explainKey    = "sluice.explain.trusted_addresses"
)

// maxExplained bounds the explanation in a response head.
const maxExplained = 4 << 10

// explainLive notes why the request goes where it goes, if it asks for that and may. Cold.
func (st *stream) explainLive() {
	h := &st.req
	i := h.Find(header.Unknown, explainHeader)
	if i < 0 || !st.cfg.explainTo.Contain(st.info.Conn.DirectRemote().Addr()) {
		return
	}
	h.RemoveName(header.Unknown, explainHeader) // it is for this proxy
	in := st.routeInput()
	e := st.table.Explain(&in)
	var b strings.Builder
	if vh := e.Result.VirtualHost; vh != nil {
		fmt.Fprintf(&b, "virtual_host %s by domain %s; ", vh.Config.Name, e.Domain)
	}
	for i := range e.Verdicts {
		v := &e.Verdicts[i]
		name := v.Route.Config.Name
		if name == "" {
			name = fmt.Sprintf("routes[%d]", v.Ordinal)
		}
		if v.Chosen {
			fmt.Fprintf(&b, "route %s; ", name)
		} else {
			fmt.Fprintf(&b, "not %s: %s; ", name, v.Why)
		}
	}
	if e.Note != "" {
		b.WriteString(e.Note + "; ")
	}
	text := b.String()
	if len(text) > maxExplained {
		text = text[:maxExplained] + "...; "
	}
	st.explained = text
}

// addExplanation puts what explainLive found, and what became of the request since, into the response.
func (st *stream) addExplanation() {
	text := st.explained
	if c := st.info.UpstreamCluster; c != "" {
		text += "cluster " + c + "; "
	}
	if a := st.info.UpstreamAddress; a.IsValid() {
		text += "host " + a.String() + "; "
	}
	if st.info.Attempts > 0 {
		text += fmt.Sprintf("attempts %d; ", st.info.Attempts)
	}
	text += "details " + st.info.Details
	clean := strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f {
			return '?'
		}
		return c
	}, text)
	st.resp.AddString(header.Unknown, explainHeader, clean)
}

//go:build sluicedebug

package hcm

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheMachinesKeepToTheirTables(t *testing.T) {
	for _, row := range []struct {
		title string
		steps func(st *stream)
		want  string // of the panic; empty: none
	}{
		{"a whole exchange", func(st *stream) {
			st.setRequest(halfBody)
			st.att.setState(attemptPending)
			st.att.setState(attemptHead)
			st.setRequest(halfDone)
			st.att.setState(attemptBody)
			st.setResponse(halfBody)
			st.att.setState(attemptIdle)
			st.setResponse(halfDone)
		}, ""},
		{"a response that ends twice", func(st *stream) {
			st.setResponse(halfBody)
			st.setResponse(halfDone)
			st.setResponse(halfDone)
		}, "hcm: response done -> done; before that [response body -> done response head -> body - -]"},
		{"a response that begins again", func(st *stream) {
			st.setResponse(halfBody)
			st.setResponse(halfHead)
		}, "hcm: response body -> head; before that [response head -> body - - -]"},
		{"an attempt without a connection that has a response", func(st *stream) {
			st.att.setState(attemptPending)
			st.att.setState(attemptBody)
		}, "hcm: attempt pending -> body; before that [attempt idle -> pending - - -]"},
	} {
		t.Run(row.title, func(t *testing.T) {
			st := &stream{}
			st.att.st = st
			got := ""
			func() {
				defer func() {
					if p := recover(); p != nil {
						got = fmt.Sprint(p)
					}
				}()
				row.steps(st)
			}()
			if !strings.HasPrefix(got, row.want) || (row.want == "") != (got == "") {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

//go:build !sluicedebug

package hcm

// history costs nothing in release builds.
type history struct{}

func (st *stream) setRequest(h half)  { st.request = h }
func (st *stream) setResponse(h half) { st.response = h }

func (a *attempt) setState(s attemptState) { a.state = s }

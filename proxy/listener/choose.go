package listener

import (
	"fmt"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// ChooseChain returns the filter chain of l that a connection with these facts would be served by; nil
// when none takes it. For explanations: it compiles the listener's match anew.
func ChooseChain(l *conf.Listener, f *streaminfo.Connection) (*conf.FilterChain, error) {
	chains := make([]*Chain, len(l.FilterChains))
	for i, c := range l.FilterChains {
		chains[i] = &Chain{conf: c}
	}
	var fallback *Chain
	if l.DefaultFilterChain != nil {
		fallback = &Chain{conf: l.DefaultFilterChain}
	}
	m, err := compileMatch(chains, fallback)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	if c := m.find(f); c != nil {
		return c.conf, nil
	}
	return nil, nil
}

package streaminfo

import "github.com/sluiceproxy/sluice/codec/frame"

// Generic is a request of a generic proxy. Part of its stream.
type Generic struct {
	Protocol           string
	Host, Path, Method []byte
	// Request and Response are the bytes of the header frames, for properties; empty unless they were
	// kept (Logger.NeedsRequest, NeedsResponse).
	Request, Response []byte
	// Properties reads them; nil when the codec has none.
	Properties frame.Properties
}

// Property returns a property of the request, or of the response.
func (g *Generic) Property(response bool, name string) (value []byte, ok bool) {
	head := g.Request
	if response {
		head = g.Response
	}
	if g.Properties == nil || len(head) == 0 {
		return nil, false
	}
	return g.Properties.Property(head, response, name)
}

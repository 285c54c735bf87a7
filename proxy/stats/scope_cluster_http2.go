package stats

// NewClusterHTTP2Stats registers cluster.<name>.http2. (HC-77), beside what c counts. Called on a loop
// when it makes a cluster's first HTTP/2 connection; the same series for every loop. Cold: it locks.
func NewClusterHTTP2Stats(c *CodeStats) *HTTP2Stats { return NewHTTP2Stats(c.registry, c.prefix) }

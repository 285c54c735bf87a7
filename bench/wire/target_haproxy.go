package wire

// HAProxy is the haproxy binary at path, sharing upstream connections and trying no request twice.
func HAProxy(path string) Target {
	p := &process{bin: path, file: "haproxy.cfg", config: haproxyConfig, args: func(config string) []string {
		return []string{"-db", "-f", config}
	}}
	return Target{Name: "haproxy", Start: p.start}
}

func haproxyConfig(p *profile, listen, origin, _ string) (string, bool) {
	h := p.haproxy
	if h == nil {
		return "", false
	}
	return `global
  nbthread 1
` + indent(2, h.global) + `defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
  timeout http-request 5s
  retries 0
  http-reuse always
frontend wire
  bind ` + listen + ` ` + h.bind + `
` + indent(2, h.frontend) + `  default_backend origin
backend origin
  server origin ` + origin + `
`, true
}

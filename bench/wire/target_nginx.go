package wire

import "strings"

// Nginx is the nginx binary at path. Buffering is off both ways, so that nginx forwards as it reads,
// and no request is tried twice.
func Nginx(path string) Target {
	p := &process{bin: path, file: "nginx.conf", config: nginxConfig, args: func(config string) []string {
		return []string{"-c", config}
	}}
	return Target{Name: "nginx", Start: p.start}
}

func nginxConfig(p *profile, listen, origin, dir string) (string, bool) {
	n := p.nginx
	if n == nil {
		return "", false
	}
	server, host := n.server, n.host
	if server == "" {
		server = underscores
	}
	if host == "" {
		host = "$http_host"
	}
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp.WriteString("  " + kind + "_temp_path " + dir + "/" + kind + ";\n")
	}
	return `daemon off;
master_process off;
pid ` + dir + `/nginx.pid;
error_log stderr crit;
events {}
http {
  access_log off;
` + temp.String() + `  upstream origin {
    server ` + origin + `;
    keepalive 8;
  }
  server {
    listen ` + listen + ` ` + n.listen + `;
` + indent(4, server) + `    location / {
` + indent(6, n.location) + `      proxy_pass http://origin` + n.passPath + `;
      proxy_http_version 1.1;
      proxy_set_header Host ` + host + `;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_next_upstream off;
    }
  }
}
`, true
}

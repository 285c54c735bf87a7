package admin

import (
	"html/template"
	"io"
)

var homeTemplate = template.Must(template.New("home").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>sluice admin</title>
<style>
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}td{padding:.3rem .6rem;border-bottom:1px solid #8884}
code{font-family:ui-monospace,monospace}button{font:inherit;cursor:pointer}
.state{opacity:.7}
</style>
<h1>sluice <span class="state">{{.State}}</span></h1>
<p><code>{{.Version}}</code></p>
<table>{{range .Pages}}<tr><td>{{if .Mutates}}<form method="post" action="{{.Path}}"><button>{{.Path}}</button></form>{{else}}<a href="{{.Path}}"><code>{{.Path}}</code></a>{{end}}</td><td>{{.Help}}</td></tr>
{{end}}</table></html>
`))

type homeRow struct {
	Path, Help string
	Mutates    bool
}

func homePage(w io.Writer, pages []page, version, state string) {
	rows := make([]homeRow, 0, len(pages))
	for _, p := range pages[1:] {
		rows = append(rows, homeRow{p.path, p.help, p.mutates})
	}
	_ = homeTemplate.Execute(w, struct {
		Version, State string
		Pages          []homeRow
	}{version, state, rows})
}

package format

import (
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Body is a compiled SubstitutionFormatString that renders the body of a reply. Immutable.
type Body struct {
	// ContentType is the configured one, or that of the form.
	ContentType string

	text *Formatter
	json *JSONFormatter
}

// CompileBody compiles f; nil for nil.
func CompileBody(f *conf.Format) (*Body, error) {
	if f == nil {
		return nil, nil
	}
	out := &Body{ContentType: f.ContentType}
	var err error
	if f.JSON != nil {
		if out.ContentType == "" {
			out.ContentType = "application/json"
		}
		out.json, err = CompileJSON(f.JSON, f.OmitEmptyValues)
		return out, err
	}
	if out.ContentType == "" {
		out.ContentType = "text/plain"
	}
	out.text, err = CompileText(f.Text, f.OmitEmptyValues)
	return out, err
}

// Append appends the body for a stream.
func (b *Body) Append(dst []byte, i *streaminfo.Info) []byte {
	if b.json != nil {
		return b.json.Append(dst, i)
	}
	return b.text.Append(dst, i)
}

//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	preservev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// maxSourceBytes bounds a file that a body or format is taken from, where no smaller limit applies.
const maxSourceBytes = 1 << 20

// statefulFormatter compiles preserve_case, the one formatter that remembers letter case (HC-52).
func (c *compiler) statefulFormatter(m *corev3.TypedExtensionConfig, at place, out *conf.HTTP1Options) {
	if m.GetTypedConfig() == nil {
		c.errs.at(at.field("typed_config"), "is required")
		return
	}
	p, ok := c.unpack(m.GetTypedConfig(), at).(*preservev3.PreserveCaseFormatterConfig)
	if !ok {
		c.errs.at(at.field("typed_config"), "is not a header formatter; supported here: %s", preserveCase)
		return
	}
	out.HeaderCase, out.ForwardReasonPhrase = conf.HeaderCasePreserve, p.GetForwardReasonPhrase()
}

func (c *compiler) accessLogs(list []*accesslogv3.AccessLog, at place) (out []*conf.AccessLog) {
	for i, m := range list {
		here := at.index(i)
		if m.GetTypedConfig() == nil {
			c.errs.at(here.field("typed_config"), "is required")
			continue
		}
		compiled := &conf.AccessLog{Filter: c.logFilter(m.GetFilter(), here.field("filter"))}
		config := here.field("typed_config")
		switch sink := c.unpack(m.GetTypedConfig(), here).(type) {
		case *filev3.FileAccessLog:
			compiled.Sink, compiled.Path = conf.SinkFile, sink.GetPath()
			compiled.Format = c.fileFormat(sink, config)
		case *streamv3.StdoutAccessLog:
			compiled.Sink = conf.SinkStdout
			compiled.Format = c.format(sink.GetLogFormat(), config.field("log_format"))
		case *streamv3.StderrAccessLog:
			compiled.Sink = conf.SinkStderr
			compiled.Format = c.format(sink.GetLogFormat(), config.field("log_format"))
		}
		out = append(out, compiled)
	}
	return out
}

// fileFormat reads log_format and the two older ways to say it.
func (c *compiler) fileFormat(m *filev3.FileAccessLog, at place) *conf.Format {
	switch format := m.GetAccessLogFormat().(type) {
	case *filev3.FileAccessLog_Format:
		if format.Format == "" {
			return nil
		}
		c.formatString(format.Format, at.field("format"))
		return &conf.Format{Text: format.Format}
	case *filev3.FileAccessLog_TypedJsonFormat:
		return &conf.Format{JSON: c.jsonObject(format.TypedJsonFormat, at.field("typed_json_format"))}
	}
	return c.format(m.GetLogFormat(), at.field("log_format"))
}

// format compiles a SubstitutionFormatString; nil for none.
func (c *compiler) format(m *corev3.SubstitutionFormatString, at place) *conf.Format {
	if m == nil {
		return nil
	}
	out := &conf.Format{ContentType: m.GetContentType(), OmitEmptyValues: m.GetOmitEmptyValues()}
	switch f := m.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat:
		out.Text = f.TextFormat
		c.formatString(out.Text, at.field("text_format"))
	case *corev3.SubstitutionFormatString_TextFormatSource:
		source := at.field("text_format_source")
		out.Text = string(c.dataSource(f.TextFormatSource, source, maxSourceBytes))
		c.formatString(out.Text, source)
	case *corev3.SubstitutionFormatString_JsonFormat:
		out.JSON = c.jsonObject(f.JsonFormat, at.field("json_format"))
	}
	return out
}

// formatString checks a text with command operators.
func (c *compiler) formatString(text string, at place) {
	if c.checkFormat == nil {
		return
	}
	if err := c.checkFormat(text); err != nil {
		c.errs.at(at, "%v", err)
	}
}

// jsonObject keeps the members in the order of the text; the message itself has none.
func (c *compiler) jsonObject(m *structpb.Struct, at place) *conf.JSONObject {
	out := &conf.JSONObject{}
	for _, name := range at.pos.order {
		v, ok := m.GetFields()[name]
		if !ok {
			continue
		}
		out.Keys = append(out.Keys, name)
		out.Values = append(out.Values, c.jsonValue(v, at.key(name)))
	}
	return out
}

func (c *compiler) jsonValue(v *structpb.Value, at place) any {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		c.formatString(k.StringValue, at)
		return k.StringValue
	case *structpb.Value_NumberValue:
		return k.NumberValue
	case *structpb.Value_BoolValue:
		return k.BoolValue
	case *structpb.Value_StructValue:
		return c.jsonObject(k.StructValue, at)
	case *structpb.Value_ListValue:
		list := make([]any, 0, len(k.ListValue.GetValues()))
		for i, item := range k.ListValue.GetValues() {
			list = append(list, c.jsonValue(item, at.index(i)))
		}
		return list
	}
	return nil
}

// dataSource reads a DataSource of at most limitBytes. Files and variables go into the digest of the
// listener, so that a change of their contents is a change of the listener.
func (c *compiler) dataSource(m *corev3.DataSource, at place, limitBytes int) []byte {
	data, external, _, ok := c.source(m, at, limitBytes)
	if ok && external != "" {
		if c.sources == nil {
			c.sources = sha256.New()
		}
		fmt.Fprintf(c.sources, "%q %d ", external, len(data))
		c.sources.Write(data)
	}
	return data
}

// source reads a DataSource of at most limitBytes: what is in it, the name of the file or variable that
// it is taken from, and the place of the member that is set. Not ok: it reported a fault.
func (c *compiler) source(m *corev3.DataSource, at place, limitBytes int) (data []byte, external string, here place, ok bool) {
	switch s := m.GetSpecifier().(type) {
	case *corev3.DataSource_InlineString:
		at, data = at.field("inline_string"), []byte(s.InlineString)
	case *corev3.DataSource_InlineBytes:
		at, data = at.field("inline_bytes"), s.InlineBytes
	case *corev3.DataSource_EnvironmentVariable:
		at, external = at.field("environment_variable"), s.EnvironmentVariable
		value, set := os.LookupEnv(s.EnvironmentVariable)
		if !set {
			c.errs.at(at, "the environment variable %s is not set", s.EnvironmentVariable)
			return nil, external, at, false
		}
		data = []byte(value)
	case *corev3.DataSource_Filename:
		at, external = at.field("filename"), s.Filename
		var err error
		if data, err = readBounded(s.Filename, limitBytes); err != nil {
			c.errs.at(at, "%s", plainFileError(err))
			return nil, external, at, false
		}
	}
	if len(data) > limitBytes {
		c.errs.at(at, "has more than %d bytes", limitBytes)
		return data, external, at, false
	}
	return data, external, at, true
}

// readBounded reads a regular file, at most one byte more than limitBytes of it.
func readBounded(path string, limitBytes int) ([]byte, error) {
	// Asked before opening: opening a pipe waits for its writer.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(limitBytes)+1))
}

var errNotRegular = errors.New("it is not a regular file")

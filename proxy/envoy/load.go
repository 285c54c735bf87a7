package envoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// maxFileBytes bounds one configuration text.
const maxFileBytes = 64 << 20

// Names that stand for a file in errors when there is none.
const (
	inlineName  = "config"
	overlayName = "--config-yaml"
)

// Source is where a configuration comes from. At least one of Path, Data and Overlay is needed.
type Source struct {
	// Path is the configuration file: .yaml, .yml or .json; any other extension is told by contents.
	// With Data it is only the name that errors show.
	Path string
	// Data is the text; nil reads Path.
	Data []byte
	// Overlay is YAML or JSON merged over the file as protobufs merge: scalars are replaced,
	// repeated fields appended, messages merged (--config-yaml, OP "Command line").
	Overlay string
	// AllowUnknown counts unknown fields instead of refusing them (--allow-unknown-static-fields).
	AllowUnknown bool
	// CheckFormat says what is wrong with a command-operator string (RT-69d); nil checks nothing.
	CheckFormat func(string) error
	// CheckGenericFormat is CheckFormat for the access logs of generic proxies, which have operators of
	// their own; nil checks nothing.
	CheckGenericFormat func(string) error
	// NetworkFilters are the names of network filters that the program brings itself: one of them as
	// the name of a filter without a typed_config is that filter.
	NetworkFilters []string
	// Generic are the codecs and filters of generic proxies that the program brings, likewise.
	Generic GenericNames
	// HTTPFilters are the same of HTTP filters.
	HTTPFilters []string
}

// GenericNames are names of what a program brings for generic proxies.
type GenericNames struct{ Codecs, Filters []string }

// Result is a loaded configuration.
type Result struct {
	Conf *conf.Bootstrap
	// Warnings are one line each, with positions: fields accepted without effect.
	Warnings []string
	// UnknownFields is how many unknown fields AllowUnknown let pass (server.static_unknown_fields).
	UnknownFields int
}

// Load reads, checks and compiles a configuration. The error joins one *Error per fault, in the
// order of the text. Files and environment variables that the configuration names as the source of
// a body are read here; no socket is opened.
func Load(src Source) (*Result, error) {
	errs := &errorList{}
	d := &decoder{errs: errs, allowUnknown: src.AllowUnknown}
	bootstrap, root := &bootstrapv3.Bootstrap{}, newPosition(inlineName, 0, 0)
	if src.Path == "" && src.Data == nil && src.Overlay == "" {
		return nil, &Error{File: inlineName, Message: "there is no configuration: neither a file nor text is given"}
	}
	if src.Path != "" || src.Data != nil {
		name, data, err := readSource(src)
		if err != nil {
			return nil, err
		}
		root = d.document(name, 0, data, bootstrap)
	}
	if src.Overlay != "" {
		over := &bootstrapv3.Bootstrap{}
		pos := d.document(overlayName, 1, []byte(src.Overlay), over)
		proto.Merge(bootstrap, over)
		root.merge(pos)
	}
	if err := errs.join(); err != nil {
		return nil, err
	}
	at := place{pos: root}
	validate(errs, bootstrap, at)
	if err := errs.join(); err != nil {
		return nil, err
	}
	c := &compiler{
		errs: errs, warnings: d.warnings, checkFormat: src.CheckFormat, custom: src.NetworkFilters, customHTTP: src.HTTPFilters,
		checkGeneric: src.CheckGenericFormat, genericNames: src.Generic,
	}
	out := c.bootstrap(bootstrap, at)
	if err := errs.join(); err != nil {
		return nil, err
	}
	return &Result{Conf: out, Warnings: c.warnings, UnknownFields: d.unknown}, nil
}

// readSource returns the text and the name that errors show for it.
func readSource(src Source) (name string, data []byte, err error) {
	name = src.Path
	if name == "" {
		name = inlineName
	}
	switch strings.ToLower(filepath.Ext(src.Path)) {
	case ".pb", ".pb_text":
		return name, nil, &Error{File: name, Message: "protobuf text and binary files are not supported: give the configuration as .yaml or .json"}
	}
	if data = src.Data; data == nil {
		if data, err = os.ReadFile(src.Path); err != nil {
			return name, nil, &Error{File: name, Message: plainFileError(err)}
		}
	}
	if len(data) > maxFileBytes {
		return name, nil, &Error{File: name, Message: fmt.Sprintf("the file has %d bytes; the limit is %d", len(data), maxFileBytes)}
	}
	return name, data, nil
}

// plainFileError is err without the operation and the path, which the caller has already named.
func plainFileError(err error) string {
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		return "cannot be read: " + pe.Err.Error()
	}
	return "cannot be read: " + err.Error()
}

// document parses one bootstrap into m and returns the position of everything in it.
func (d *decoder) document(name string, ordinal int, data []byte, m proto.Message) *position {
	tree, root := d.parse(name, ordinal, data, "a bootstrap")
	if tree != nil {
		d.message(tree, m.ProtoReflect(), place{pos: root})
	}
	return root
}

// parse reads a text that is what, a mapping; the tree is nil when it is not.
func (d *decoder) parse(name string, ordinal int, data []byte, what string) (*node, *position) {
	root := newPosition(name, 1, 1)
	root.ordinal = ordinal
	tree, values, err := parseText(name, data)
	if err != nil {
		err.ordinal = ordinal
		d.errs.add(err)
		return nil, root
	}
	d.file, d.ordinal, d.steps, d.limit = name, ordinal, 0, values+maxAliased
	root.line, root.col = tree.line, tree.col
	if tree.kind != mappingNode {
		d.errs.at(place{pos: root}, "expected %s (a mapping of fields), got %s", what, tree.describe())
		return nil, root
	}
	return tree, root
}

// parseText chooses the syntax: by extension, and by contents for other names. It returns the tree
// and how many values it has, aliased ones counted once.
func parseText(name string, data []byte) (tree *node, values int, err *Error) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return parseJSON(name, data)
	case ".yaml", ".yml":
		return parseYAML(name, data)
	}
	if t := bytes.TrimSpace(data); len(t) > 0 && t[0] == '{' && json.Valid(t) {
		return parseJSON(name, data)
	}
	return parseYAML(name, data)
}

package envoy

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Well-known types with a form of their own in JSON.
const (
	anyType      = "google.protobuf.Any"
	structType   = "google.protobuf.Struct"
	durationType = "google.protobuf.Duration"
	typeKey      = "@type"
)

// decoder fills messages from values, following the descriptors, and refuses what the support table
// does not list. Its notion of JSON is protojson's, with YAML's unquoted scalars read as Envoy reads
// them; a test holds the two against each other.
type decoder struct {
	extension    []string // what the TypedExtensionConfig being decoded may hold; none: what its own rule says
	errs         *errorList
	allowUnknown bool
	unknown      int
	warnings     []string

	file    string
	ordinal int
	steps   int // values visited, aliases followed
	limit   int // of steps
	lenient int // inside a field without effect: the support table is not asked
}

// position makes the position of a value: of its key for mappings and lists, of itself for scalars.
func (d *decoder) position(line, col int, n *node) *position {
	if n.kind == scalarNode {
		line, col = n.line, n.col
	}
	p := newPosition(d.file, line, col)
	p.ordinal = d.ordinal
	return p
}

// step counts one value; false means the text stands for too many.
func (d *decoder) step(at place) bool {
	d.steps++
	if d.steps == d.limit+1 {
		d.errs.at(at, "aliases repeat more than %d values", maxAliased)
	}
	return d.steps <= d.limit
}

// message decodes the mapping n into m. A message without a form of its own is a mapping of fields.
func (d *decoder) message(n *node, m protoreflect.Message, at place) {
	if !d.step(at) {
		return
	}
	md := m.Descriptor()
	switch md.FullName() {
	case anyType:
		d.errs.at(at, "an Any cannot stand here")
		return
	case structType, "google.protobuf.Value", "google.protobuf.ListValue":
		d.structValue(n, m, at)
		return
	case durationType:
		d.duration(n, m, at)
		return
	}
	if value := wrappedField(md); value != nil {
		if v, ok := d.scalar(n, value, at); ok {
			m.Set(value, v)
		}
		return
	}
	if n.kind != mappingNode {
		d.errs.at(at, "expected a mapping (%s), got %s", md.Name(), n.describe())
		return
	}
	set := map[protoreflect.FieldNumber]key{}
	for i, k := range n.keys {
		if k.name == typeKey && at.pos.isAny {
			continue
		}
		d.member(k, n.items[i], m, at, set)
	}
}

// wrappedField returns the value field of google.protobuf.BoolValue and its like.
func wrappedField(md protoreflect.MessageDescriptor) protoreflect.FieldDescriptor {
	if md.ParentFile().Path() == "google/protobuf/wrappers.proto" {
		return md.Fields().ByName("value")
	}
	return nil
}

// member decodes one key of a message.
func (d *decoder) member(k key, n *node, m protoreflect.Message, at place, set map[protoreflect.FieldNumber]key) {
	md := m.Descriptor()
	fd := md.Fields().ByName(protoreflect.Name(k.name))
	if fd == nil {
		fd = md.Fields().ByJSONName(k.name)
	}
	name := k.name
	if fd != nil {
		name = string(fd.Name())
	}
	pos := d.position(k.line, k.col, n)
	keyPlace := place{path: at.field(name).path, pos: newPosition(d.file, k.line, k.col)}
	keyPlace.pos.ordinal = d.ordinal
	if fd == nil {
		if d.allowUnknown {
			d.unknown++
			return
		}
		d.errs.at(keyPlace, "unknown field%s", suggestField(md, k.name))
		return
	}
	if first, dup := set[fd.Number()]; dup {
		d.errs.at(keyPlace, "set twice, first as %s at %d:%d", first.name, first.line, first.col)
		return
	}
	set[fd.Number()] = k
	if n.kind == nullNode && (fd.Message() == nil || fd.Message().FullName() != "google.protobuf.Value") {
		return
	}
	if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() {
		if other := m.WhichOneof(od); other != nil {
			d.errs.at(keyPlace, "excludes %s: only one of them may be set", other.Name())
			return
		}
	}
	here := place{path: keyPlace.path, pos: pos}
	at.pos.put(name, pos)
	rule, supported := supportOf(md.FullName(), fd.Name())
	if md.FullName() == extensionType && len(d.extension) > 0 && fd.Message() != nil {
		rule.payloads = d.extension
	}
	switch {
	case d.lenient > 0:
	case !supported:
		d.refuse(n, m, fd, here, keyPlace, rule)
		return
	case rule.muted != "":
		d.warnings = append(d.warnings, (&Error{
			File: d.file, Line: k.line, Col: k.col, Path: keyPlace.path, Message: "has no effect: " + rule.muted,
		}).Error())
		d.lenient++
		defer func() { d.lenient-- }()
	}
	d.field(n, m, fd, here, rule)
}

// refuse reports a field outside the support table, unless it only says what is so anyway: an empty
// list, or a scalar with its default.
func (d *decoder) refuse(n *node, m protoreflect.Message, fd protoreflect.FieldDescriptor, here, keyPlace place, rule rule) {
	switch {
	case fd.IsList() && n.kind == listNode && len(n.items) == 0:
		return
	case fd.IsMap() && n.kind == mappingNode && len(n.keys) == 0:
		return
	case !fd.IsList() && !fd.IsMap() && fd.Message() == nil && fd.ContainingOneof() == nil:
		v, ok := d.scalar(n, fd, here)
		if !ok || v.Equal(fd.Default()) {
			return
		}
	}
	if rule.hint != "" {
		d.errs.at(keyPlace, "not supported: %s", rule.hint)
		return
	}
	d.errs.at(keyPlace, "not supported")
}

// field decodes the value of one field.
func (d *decoder) field(n *node, m protoreflect.Message, fd protoreflect.FieldDescriptor, at place, rule rule) {
	switch {
	case fd.IsMap():
		d.mapField(n, m, fd, at, rule)
	case fd.IsList():
		if n.kind != listNode {
			d.errs.at(at, "expected a list, got %s", n.describe())
			return
		}
		list := m.Mutable(fd).List()
		for i, item := range n.items {
			pos := d.position(item.line, item.col, item)
			at.pos.items = append(at.pos.items, pos)
			if !d.step(at) {
				return
			}
			if v, ok := d.element(item, list.NewElement, fd, at.index(i), rule); ok {
				list.Append(v)
			}
		}
	default:
		newValue := func() protoreflect.Value { return m.NewField(fd) }
		if v, ok := d.element(n, newValue, fd, at, rule); ok {
			m.Set(fd, v)
		}
	}
}

// element decodes one value of a field: the field's own, or one of a list or map.
func (d *decoder) element(n *node, newValue func() protoreflect.Value, fd protoreflect.FieldDescriptor, at place, rule rule) (protoreflect.Value, bool) {
	if fd.Message() == nil {
		v, ok := d.scalar(n, fd, at)
		if ok && fd.Enum() != nil && d.lenient == 0 {
			ok = d.checkEnum(v.Enum(), fd.Enum(), at, rule)
		}
		return v, ok
	}
	if n.kind == nullNode && fd.Message().FullName() != "google.protobuf.Value" {
		d.errs.at(at, "null is not an entry of a list or map")
		return protoreflect.Value{}, false
	}
	if fd.Message().FullName() == anyType {
		return d.any(n, at, rule)
	}
	v := newValue()
	if fd.Message().FullName() == extensionType {
		defer func(outer []string) { d.extension = outer }(d.extension)
		d.extension = rule.payloads
	}
	d.message(n, v.Message(), at)
	return v, true
}

// extensionType is a message whose payload the field decides that it stands in.
const extensionType = "envoy.config.core.v3.TypedExtensionConfig"

func (d *decoder) mapField(n *node, m protoreflect.Message, fd protoreflect.FieldDescriptor, at place, rule rule) {
	if n.kind != mappingNode {
		d.errs.at(at, "expected a mapping, got %s", n.describe())
		return
	}
	if fd.MapKey().Kind() != protoreflect.StringKind {
		d.errs.at(at, "maps with %s keys are not supported", fd.MapKey().Kind())
		return
	}
	entries := m.Mutable(fd).Map()
	for i, k := range n.keys {
		at.pos.put(k.name, d.position(k.line, k.col, n.items[i]))
		if v, ok := d.element(n.items[i], entries.NewValue, fd.MapValue(), at.key(k.name), rule); ok {
			entries.Set(protoreflect.ValueOfString(k.name).MapKey(), v)
		}
	}
}

// any decodes {"@type": url, fields...}. Which types may stand in a field is part of the support
// table.
func (d *decoder) any(n *node, at place, rule rule) (none protoreflect.Value, ok bool) {
	at.pos.isAny = true
	if n.kind != mappingNode {
		d.errs.at(at, "expected a mapping with %q, got %s", typeKey, n.describe())
		return none, false
	}
	i := slices.IndexFunc(n.keys, func(k key) bool { return k.name == typeKey })
	if i < 0 || n.items[i].kind != scalarNode {
		d.errs.at(at, "%q is missing; supported here: %s", typeKey, alternatives(rule.payloads))
		return none, false
	}
	typeAt := place{path: at.path + "." + typeKey, pos: newPosition(d.file, n.items[i].line, n.items[i].col)}
	typeAt.pos.ordinal = d.ordinal
	name := protoreflect.FullName(messageName(n.items[i].text))
	if d.lenient == 0 && !slices.Contains(rule.payloads, string(name)) {
		if slices.Contains(rule.payloads, otherPayloads) {
			return d.passedOver(n, at)
		}
		why := ""
		if rule.hint != "" {
			why = " (" + rule.hint + ")"
		}
		d.errs.at(typeAt, "type %s is not supported%s; supported here: %s", shorten(string(name)), why, alternatives(rule.payloads))
		return none, false
	}
	mt, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		if d.lenient == 0 {
			d.errs.at(typeAt, "type %s is not known", shorten(string(name)))
		}
		return none, false
	}
	payload := mt.New()
	d.message(n, payload, at)
	packed := &anypb.Any{TypeUrl: "type.googleapis.com/" + string(name)}
	if packed.Value, err = (proto.MarshalOptions{Deterministic: true}).Marshal(payload.Interface()); err != nil {
		d.errs.at(at, "cannot be encoded: %v", err)
		return none, false
	}
	return protoreflect.ValueOfMessage(packed.ProtoReflect()), true
}

// passedOver keeps a payload of a type that is not supported as free-form JSON, in fields where the reader
// chooses among several.
func (d *decoder) passedOver(n *node, at place) (none protoreflect.Value, ok bool) {
	content := d.free(n, at).GetStructValue()
	if inner := content.GetFields()["value"].GetStructValue(); inner != nil && messageName(content.GetFields()[typeKey].GetStringValue()) == structType {
		content = inner // what was passed over before, as it was printed
	}
	packed, err := anypb.New(content)
	if err != nil {
		d.errs.at(at, "cannot be encoded: %v", err)
		return none, false
	}
	return protoreflect.ValueOfMessage(packed.ProtoReflect()), true
}

// checkEnum refuses values outside the support table.
func (d *decoder) checkEnum(v protoreflect.EnumNumber, ed protoreflect.EnumDescriptor, at place, rule rule) bool {
	value := ed.Values().ByNumber(v)
	if value == nil {
		d.errs.at(at, "%d is not a value of %s; allowed: %s", v, ed.Name(), alternatives(allowedValues(ed, rule)))
		return false
	}
	if len(rule.values) > 0 && !slices.Contains(rule.values, string(value.Name())) {
		d.errs.at(at, "%s is not supported; supported: %s", value.Name(), alternatives(rule.values))
		return false
	}
	return true
}

// duration decodes "1.5s".
func (d *decoder) duration(n *node, m protoreflect.Message, at place) {
	if n.kind != scalarNode || n.style == jsonStyle {
		d.errs.at(at, "expected a duration such as \"0.25s\", got %s", n.describe())
		return
	}
	if err := protojson.Unmarshal(fmt.Appendf(nil, "%q", n.text), m.Interface()); err != nil {
		d.errs.at(at, "expected a duration in seconds such as \"0.25s\", got %s", n.describe())
	}
}

// structValue decodes free-form JSON, keeping where each member stands and in which order.
func (d *decoder) structValue(n *node, m protoreflect.Message, at place) {
	v := d.free(n, at)
	switch m.Descriptor().FullName() {
	case structType:
		if n.kind != mappingNode {
			d.errs.at(at, "expected a mapping, got %s", n.describe())
			return
		}
		proto.Merge(m.Interface(), v.GetStructValue())
	case "google.protobuf.ListValue":
		if n.kind != listNode {
			d.errs.at(at, "expected a list, got %s", n.describe())
			return
		}
		proto.Merge(m.Interface(), v.GetListValue())
	default:
		proto.Merge(m.Interface(), v)
	}
}

// free decodes a google.protobuf.Value. Unquoted scalars are booleans and numbers where Envoy's
// reader takes them so, else strings.
func (d *decoder) free(n *node, at place) *structpb.Value {
	if !d.step(at) {
		return structpb.NewNullValue()
	}
	switch n.kind {
	case nullNode:
		return structpb.NewNullValue()
	case listNode:
		list := &structpb.ListValue{}
		for i, item := range n.items {
			at.pos.items = append(at.pos.items, d.position(item.line, item.col, item))
			list.Values = append(list.Values, d.free(item, at.index(i)))
		}
		return structpb.NewListValue(list)
	case mappingNode:
		s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for i, k := range n.keys {
			at.pos.put(k.name, d.position(k.line, k.col, n.items[i]))
			s.Fields[k.name] = d.free(n.items[i], at.key(k.name))
		}
		return structpb.NewStructValue(s)
	}
	return d.freeScalar(n, at)
}

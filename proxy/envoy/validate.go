package envoy

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// constraintError is what the generated validators return for one field; cause is the error of the
// message in that field.
type constraintError interface {
	error
	Field() string
	Reason() string
	Cause() error
}

// validate applies the constraints written in the protobuf files (OP-3): those of m and of all
// messages inside, and then those of every Any payload, which the generated validators do not enter.
func validate(errs *errorList, m proto.Message, at place) {
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		constraint(errs, v.ValidateAll(), m.ProtoReflect().Descriptor(), at)
	}
	validatePayloads(errs, m.ProtoReflect(), at)
}

func validatePayloads(errs *errorList, m protoreflect.Message, at place) {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		if payload, err := packed.UnmarshalNew(); err == nil {
			validate(errs, payload, at)
		}
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		here := at.field(string(fd.Name()))
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
					validatePayloads(errs, v.Message(), here.key(k.String()))
					return true
				})
			}
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				validatePayloads(errs, v.List().Get(i).Message(), here.index(i))
			}
		default:
			validatePayloads(errs, v.Message(), here)
		}
		return true
	})
}

// constraint reports err, which concerns the message md at at.
func constraint(errs *errorList, err error, md protoreflect.MessageDescriptor, at place) {
	if err == nil {
		return
	}
	if many, ok := err.(interface{ AllErrors() []error }); ok {
		for _, one := range many.AllErrors() {
			constraint(errs, one, md, at)
		}
		return
	}
	ce, ok := err.(constraintError)
	if !ok {
		errs.at(at, "%v", err)
		return
	}
	name, entry, _ := strings.Cut(strings.TrimSuffix(ce.Field(), "]"), "[")
	fd, od := findGoName(md, name)
	if fd == nil {
		if od != nil && ce.Cause() == nil {
			names := supportedMembers(od)
			if len(names) == 1 {
				errs.at(at, "%s is required", names[0])
				return
			}
			errs.at(at, "one of %s is required", alternatives(names))
			return
		}
		errs.at(at, "%s: %s", name, plainReason(ce.Reason()))
		return
	}
	here, inner := at.field(string(fd.Name())), fd.Message()
	switch {
	case fd.IsMap():
		here, inner = here.key(entry), fd.MapValue().Message()
	case fd.IsList() && entry != "":
		n := 0
		for _, c := range entry {
			n = n*10 + int(c-'0')
		}
		here = here.index(n)
	}
	if ce.Cause() != nil && inner != nil {
		constraint(errs, ce.Cause(), inner, here)
		return
	}
	errs.at(here, "%s", plainReason(ce.Reason()))
}

// findGoName finds the field or oneof that the validators call by its Go name.
func findGoName(md protoreflect.MessageDescriptor, goName string) (protoreflect.FieldDescriptor, protoreflect.OneofDescriptor) {
	want := strings.ToLower(strings.ReplaceAll(goName, "_", ""))
	same := func(name protoreflect.Name) bool {
		return strings.ToLower(strings.ReplaceAll(string(name), "_", "")) == want
	}
	for i := range md.Fields().Len() {
		if fd := md.Fields().Get(i); same(fd.Name()) {
			return fd, nil
		}
	}
	for i := range md.Oneofs().Len() {
		if od := md.Oneofs().Get(i); same(od.Name()) {
			return nil, od
		}
	}
	return nil, nil
}

// plainReason turns a validator's reason into the words used everywhere else.
func plainReason(reason string) string {
	switch reason {
	case "value is required":
		return "is required"
	case "value length must be at least 1 runes", "value length must be at least 1 bytes":
		return "must not be empty"
	case "value must contain at least 1 item(s)":
		return "needs at least one entry"
	}
	return strings.TrimPrefix(reason, "value ")
}

package envoy

import (
	"fmt"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

func messageDescriptor(t *testing.T, name protoreflect.FullName) protoreflect.MessageDescriptor {
	t.Helper()
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return d.(protoreflect.MessageDescriptor)
}

// ownForm says whether a message is not a mapping of its fields, so that the table has no say in it.
func ownForm(md protoreflect.MessageDescriptor) bool {
	return md.FullName().Parent() == "google.protobuf"
}

func TestSupportTableNamesWhatExists(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	for _, table := range supportTables {
		for _, m := range table {
			if seen[m.message] {
				t.Errorf("%s is listed twice", m.message)
			}
			seen[m.message] = true
			md := messageDescriptor(t, m.message)
			for name, rule := range supportIndex()[m.message] {
				fd := md.Fields().ByName(protoreflect.Name(name))
				if fd == nil {
					t.Errorf("%s has no field %s", m.message, name)
					continue
				}
				for _, value := range rule.values {
					if fd.Enum() == nil || fd.Enum().Values().ByName(protoreflect.Name(value)) == nil {
						t.Errorf("%s.%s has no value %s", m.message, name, value)
					}
				}
				if rule.muted != "" && strings.Contains(" "+m.fields+" ", " "+name+" ") {
					t.Errorf("%s.%s is both supported and without effect", m.message, name)
				}
			}
		}
	}
}

// TestSupportTableIsClosed walks from the bootstrap over the supported fields: every message on the
// way has its own entry, so no supported field leads to a message nobody decided about, every entry
// is reached, and every Any says what it may hold.
func TestSupportTableIsClosed(t *testing.T) {
	reached := map[protoreflect.FullName]bool{}
	var walk func(md protoreflect.MessageDescriptor, from string)
	walk = func(md protoreflect.MessageDescriptor, from string) {
		if ownForm(md) || reached[md.FullName()] {
			return
		}
		reached[md.FullName()] = true
		rules, listed := supportIndex()[md.FullName()]
		if !listed {
			t.Errorf("%s leads to %s, which is not in the table", from, md.FullName())
		}
		for name, rule := range rules {
			if !rule.supported || rule.muted != "" {
				continue
			}
			fd := md.Fields().ByName(protoreflect.Name(name))
			inner := fd.Message()
			if fd.IsMap() {
				inner = fd.MapValue().Message()
			}
			if inner == nil {
				continue
			}
			if inner.FullName() == anyType {
				if len(rule.payloads) == 0 {
					t.Errorf("%s does not say what it may hold", fd.FullName())
				}
				for _, payload := range rule.payloads {
					walk(messageDescriptor(t, protoreflect.FullName(payload)), string(fd.FullName()))
				}
				continue
			}
			walk(inner, string(fd.FullName()))
			if inner.FullName() == extensionType {
				for _, payload := range rule.payloads {
					if payload != otherPayloads {
						walk(messageDescriptor(t, protoreflect.FullName(payload)), string(fd.FullName()))
					}
				}
			}
		}
	}
	walk((&bootstrapv3.Bootstrap{}).ProtoReflect().Descriptor(), "the bootstrap")
	for name := range supportIndex() {
		if !reached[name] {
			t.Errorf("%s is in the table and cannot be reached", name)
		}
	}
}

// TestEveryPlainFieldOutsideTheTableIsRefused sets each unsupported scalar of the listener, the
// manager and the cluster to something and expects the one sentence.
func TestEveryPlainFieldOutsideTheTableIsRefused(t *testing.T) {
	count := 0
	for _, name := range []protoreflect.FullName{
		"envoy.config.bootstrap.v3.Bootstrap", "envoy.config.listener.v3.Listener", "envoy.config.cluster.v3.Cluster", hcmMessage, tcpProxyMessage,
		"envoy.config.listener.v3.FilterChainMatch", "envoy.config.rbac.v3.Permission", "envoy.config.rbac.v3.Principal",
		downstreamTLS, upstreamTLS, tlsMessages + "CommonTlsContext", tlsMessages + "TlsParameters", tlsMessages + "TlsCertificate",
		tlsMessages + "CertificateValidationContext", http2Message, upstreamHTTP,
	} {
		md := messageDescriptor(t, name)
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if _, ok := supportOf(name, fd.Name()); ok {
				continue
			}
			value := "{}"
			switch {
			case fd.IsMap():
				value = "{ a: b }"
			case fd.IsList():
				value = "[{}]"
			case fd.Message() != nil:
			case fd.Kind() == protoreflect.BoolKind:
				value = "true"
			case fd.Kind() == protoreflect.StringKind:
				value = "text"
			default:
				t.Fatalf("%s: what is a value of %s?", fd.FullName(), fd.Kind())
			}
			count++
			d := &decoder{errs: &errorList{}, limit: maxAliased, file: "f"}
			tree, _, err := parseYAML("f", []byte(string(fd.Name())+": "+value))
			if err != nil {
				t.Fatal(err)
			}
			mt, typeErr := protoregistry.GlobalTypes.FindMessageByName(name)
			if typeErr != nil {
				t.Fatal(typeErr)
			}
			d.message(tree, mt.New(), place{pos: newPosition("f", 1, 1)})
			if len(d.errs.list) != 1 || !strings.HasPrefix(d.errs.list[0].Message, "not supported") {
				t.Errorf("%s: %s gives %v", fd.FullName(), value, d.errs.join())
			}
		}
	}
	if count < 95 {
		t.Errorf("only %d fields tried", count)
	}
}

// TestCoverageDocument keeps COVERAGE.md what the table says.
func TestCoverageDocument(t *testing.T) {
	golden(t, "COVERAGE.md", coverage(t))
}

func coverage(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# Envoy configuration coverage

Generated from the support table of this package (` + "`go generate ./proxy/envoy`" + `); a test keeps it current.

A field that is *refused* is an error when it is set, with its line and column. A field with *no
effect* is accepted with a warning. Messages that are not listed can only be reached through refused
fields.
`)
	supported, refused := 0, 0
	for _, table := range supportTables {
		for _, m := range table {
			md := messageDescriptor(t, m.message)
			fmt.Fprintf(&b, "\n## %s\n\n", m.message)
			if md.Fields().Len() == 0 {
				b.WriteString("Supported; it has no fields.\n")
				continue
			}
			b.WriteString("| field | status |\n|---|---|\n")
			var no []string
			for i := range md.Fields().Len() {
				fd := md.Fields().Get(i)
				rule, ok := supportOf(m.message, fd.Name())
				switch {
				case !ok:
					refused++
					text := "`" + string(fd.Name()) + "`"
					if rule.hint != "" {
						text += " (" + rule.hint + ")"
					}
					no = append(no, text)
				case rule.muted != "":
					fmt.Fprintf(&b, "| `%s` | no effect: %s |\n", fd.Name(), rule.muted)
				default:
					supported++
					fmt.Fprintf(&b, "| `%s` | %s |\n", fd.Name(), supportedText(rule))
				}
			}
			if len(no) > 0 {
				fmt.Fprintf(&b, "| refused | %s |\n", strings.Join(no, ", "))
			}
		}
	}
	fmt.Fprintf(&b, "\n%d fields are supported and %d of the same messages refused.\n", supported, refused)
	return b.String()
}

func supportedText(rule rule) string {
	text := "supported"
	if len(rule.values) > 0 {
		text += ": " + strings.Join(rule.values, ", ")
	}
	if len(rule.payloads) > 0 {
		text += ": `" + strings.Join(rule.payloads, "`, `") + "`"
	}
	if rule.hint != "" && len(rule.payloads) == 0 {
		text += "; " + rule.hint
	}
	return text
}

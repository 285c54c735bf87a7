package envoy

import (
	"errors"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Kinds of secrets, by the field of Secret that holds them. Two of different kinds may have one name.
const (
	certificateSecret = "tls_certificate"
	validationSecret  = "validation_context"
	ticketKeysSecret  = "session_ticket_keys"
)

// secret is a compiled Secret: one of the three is set.
type secret struct {
	m           *tlsv3.Secret
	certificate certificate
	validation  validation
	ticketKeys  []conf.DataSource
}

// secretKey is what a secret is found by.
type secretKey struct{ kind, name string }

// secretTable are the secrets of static_resources or of a file.
type secretTable map[secretKey]*secret

// addSecret compiles a secret, used or not.
func (c *compiler) addSecret(table secretTable, m *tlsv3.Secret, at place) {
	s, key := &secret{m: m}, secretKey{name: m.GetName()}
	switch t := m.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		key.kind = certificateSecret
		s.certificate = c.certificate(t.TlsCertificate, at.field(certificateSecret))
	case *tlsv3.Secret_ValidationContext:
		key.kind = validationSecret
		s.validation = c.validation(t.ValidationContext, at.field(validationSecret))
	case *tlsv3.Secret_SessionTicketKeys:
		key.kind = ticketKeysSecret
		s.ticketKeys = c.ticketKeyList(t.SessionTicketKeys, at.field(ticketKeysSecret))
	default:
		c.errs.at(at, "one of %s, %s or %s is required", ticketKeysSecret, certificateSecret, validationSecret)
		return
	}
	switch {
	case key.name == "":
		c.errs.at(at, "name is required: nothing could ask for it")
	case table[key] != nil:
		c.errs.at(at.field("name"), "another %s is called %s", key.kind, shorten(key.name))
	default:
		table[key] = s
	}
}

// secret finds the secret of one kind that a config names; nil when it reported that there is none.
func (c *compiler) secret(m *tlsv3.SdsSecretConfig, at place, kind string) *secret {
	key := secretKey{kind: kind, name: m.GetName()}
	table, where := c.secrets, "static_resources.secrets"
	if source := m.GetSdsConfig(); source != nil {
		path, here := source.GetPathConfigSource().GetPath(), at.field("sds_config")
		if path == "" {
			c.errs.at(here, "path_config_source is required")
			return nil
		}
		if table = c.secretFile(path, here.field("path_config_source").field("path")); table == nil {
			return nil
		}
		where = path
	}
	s := table[key]
	if s == nil {
		c.errs.at(at.field("name"), "there is no %s %s in %s", kind, shorten(key.name), oneLine(where))
	}
	return s
}

// secretFile reads a file that holds a Secret, or a DiscoveryResponse of them, once; nil when it
// reported a fault.
func (c *compiler) secretFile(path string, at place) secretTable {
	if table, read := c.secretFiles[path]; read {
		return table
	}
	if c.secretFiles == nil {
		c.secretFiles = map[string]secretTable{}
	}
	c.secretFiles[path] = nil
	name, data, err := readSource(Source{Path: path})
	if err != nil {
		var fault *Error
		errors.As(err, &fault)
		c.errs.at(at, "%s", fault.Message)
		return nil
	}
	faults := len(c.errs.list)
	d := &decoder{errs: c.errs}
	// Its errors come after those of the texts that name it.
	tree, root := d.parse(name, 1+len(c.secretFiles), data, "a secret")
	if tree == nil {
		return nil
	}
	nodes, places := []*node{tree}, []place{{pos: root}}
	if tree.has("resources") {
		nodes, places = d.resources(tree, secretMessage, "a list of secrets")
	}
	list := make([]*tlsv3.Secret, len(nodes))
	for i, n := range nodes {
		list[i] = &tlsv3.Secret{}
		d.message(n, list[i].ProtoReflect(), places[i])
	}
	for i, m := range list {
		if len(c.errs.list) == faults {
			validate(c.errs, m, places[i])
		}
	}
	c.warnings = append(c.warnings, d.warnings...)
	if len(c.errs.list) > faults {
		return nil
	}
	table := secretTable{}
	for i, m := range list {
		c.addSecret(table, m, places[i])
	}
	c.secretFiles[path] = table
	return table
}

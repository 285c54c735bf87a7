package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"os"
	"slices"
	"strings"
)

// secretFields are the fields of Envoy's messages below which every text is a secret
// (udpa.annotations.sensitive). All hold messages: a text of the same name, in metadata or a log
// format, is not one of them.
var secretFields = []string{"private_key", "password", "pkcs12", "private_key_provider", "session_ticket_keys", "generic_secret"}

// redacted is what stands in the place of a secret, and of the name of its file.
const redacted = "[redacted]"

// redactedBytes is redacted in a field of bytes: a dump stays something that protobuf's JSON reads.
var redactedBytes = base64.StdEncoding.EncodeToString([]byte(redacted))

// redact returns the JSON of a configuration without its secrets, in the same order. JSON that cannot
// be read has nothing to show: it becomes an empty object.
func redact(b json.RawMessage) json.RawMessage {
	r := redactor{in: json.NewDecoder(bytes.NewReader(b))}
	r.in.UseNumber()
	if r.value("", false) != nil {
		return json.RawMessage("{}")
	}
	return r.out.Bytes()
}

// redactor copies JSON token by token.
type redactor struct {
	in  *json.Decoder
	out bytes.Buffer
}

// value copies the value of a field; secret says that it is within a secret.
func (r *redactor) value(field string, secret bool) error {
	token, err := r.in.Token()
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		return r.composite(t, field, secret || slices.Contains(secretFields, field))
	case string:
		switch {
		case !secret || field == "@type":
		case field == "inline_bytes":
			token = redactedBytes
		default:
			token = redacted
		}
	}
	return r.write(token)
}

// composite copies the rest of an object or list, which began with begin.
func (r *redactor) composite(begin json.Delim, field string, secret bool) error {
	r.out.WriteByte(byte(begin))
	for first := true; r.in.More(); first = false {
		if !first {
			r.out.WriteByte(',')
		}
		if begin == '{' {
			key, err := r.in.Token()
			if err != nil {
				return err
			}
			field, _ = key.(string)
			if err := r.write(key); err != nil {
				return err
			}
			r.out.WriteByte(':')
		}
		if err := r.value(field, secret); err != nil {
			return err
		}
	}
	end, err := r.in.Token()
	if err != nil {
		return err
	}
	return r.out.WriteByte(byte(end.(json.Delim)))
}

// write writes a token that is a value by itself.
func (r *redactor) write(token json.Token) error {
	b, err := json.Marshal(token)
	r.out.Write(b)
	return err
}

// tellsSecrets says whether the text of a flag may hold secrets: YAML or JSON that has their fields.
func tellsSecrets(text string) bool {
	text = strings.ReplaceAll(strings.ToLower(text), "_", "") // privateKey is private_key
	return slices.ContainsFunc(secretFields, func(field string) bool {
		return strings.Contains(text, strings.ReplaceAll(field, "_", ""))
	})
}

// publicOptions are the options of the command line without the secrets of --config-yaml.
func publicOptions(all map[string]any) map[string]any {
	out := make(map[string]any, len(all))
	for name, v := range all {
		if text, ok := v.(string); ok && tellsSecrets(text) {
			v = redacted
		}
		out[name] = v
	}
	return out
}

// cmdline is /debug/pprof/cmdline, likewise.
func cmdline(w http.ResponseWriter, r *http.Request) {
	if !slices.ContainsFunc(os.Args, tellsSecrets) {
		pprof.Cmdline(w, r)
		return
	}
	args := slices.Clone(os.Args)
	for i, arg := range args {
		if tellsSecrets(arg) {
			args[i] = redacted
		}
	}
	_, _ = w.Write([]byte(strings.Join(args, "\x00"))) // the client went away: nobody to tell
}

package envoy

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// messageSupport says which fields of one message may be set. Every field that is not named here is
// refused when it is set.
type messageSupport struct {
	message protoreflect.FullName
	// fields are supported; names separated by spaces.
	fields string
	// muted fields are accepted with a warning: field to the reason why they have no effect. Only
	// what cannot change how any byte is proxied may be here.
	muted map[string]string
	// values are the enum values supported of a field, separated by spaces; the others are refused.
	values map[string]string
	// payloads are the messages an Any field may hold, separated by spaces; otherPayloads among them lets
	// others pass, as a Struct.
	payloads map[string]string
	// hints say more about a refused field, or limit a supported one in the coverage document.
	hints map[string]string
}

// rule is what the table says of one field.
type rule struct {
	muted    string
	hint     string
	values   []string
	payloads []string
}

type fieldRule struct {
	rule
	supported bool
}

// supportTables are all tables, in the order of the coverage document.
var supportTables = [][]messageSupport{bootstrapSupport, listenerSupport, networkSupport, genericSupport, tlsSupport, httpSupport, http2Support, accessLogSupport, routeSupport, retrySupport, filterSupport, clusterSupport, policySupport, matchTreeSupport, healthSupport, endpointSupport}

var supportIndex = sync.OnceValue(func() map[protoreflect.FullName]map[string]fieldRule {
	index := map[protoreflect.FullName]map[string]fieldRule{}
	for _, table := range supportTables {
		for _, m := range table {
			fields := map[string]fieldRule{}
			for _, name := range strings.Fields(m.fields) {
				fields[name] = fieldRule{supported: true}
			}
			for name, why := range m.muted {
				fields[name] = fieldRule{supported: true, rule: rule{muted: why}}
			}
			set := func(from map[string]string, put func(*fieldRule, string)) {
				for name, text := range from {
					f := fields[name]
					put(&f, text)
					fields[name] = f
				}
			}
			set(m.hints, func(f *fieldRule, s string) { f.hint = s })
			set(m.values, func(f *fieldRule, s string) { f.values = strings.Fields(s) })
			if _, ok := fields[perFilter]; ok {
				set(perFilterPayloads, func(f *fieldRule, s string) { f.payloads = strings.Fields(s) })
			}
			set(m.payloads, func(f *fieldRule, s string) { f.payloads = strings.Fields(s) })
			index[m.message] = fields
		}
	}
	return index
})

// supportOf returns what the table says of a field and whether it may be set.
func supportOf(message protoreflect.FullName, field protoreflect.Name) (rule, bool) {
	f := supportIndex()[message][string(field)]
	return f.rule, f.supported
}

// otherPayloads stands for the types that are not supported where they do no harm.
const otherPayloads = "..."

// payloadsOf splits a list of message names.
func payloadsOf(list string) []string { return strings.Fields(list) }

// supportedMembers lists the members of a oneof that may be set.
func supportedMembers(od protoreflect.OneofDescriptor) []string {
	var names []string
	for i := range od.Fields().Len() {
		fd := od.Fields().Get(i)
		if _, ok := supportOf(fd.ContainingMessage().FullName(), fd.Name()); ok {
			names = append(names, string(fd.Name()))
		}
	}
	slices.Sort(names)
	return names
}

// Reasons shared by several tables.
const (
	onlyFilters    = "metadata is read by filters and balancers that are not part of this version"
	noTracing      = "tracing is not part of this version"
	noGlobalLimit  = "there is no global connection limit"
	onlyRawBuffer  = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
	accessLoggers  = "envoy.extensions.access_loggers.file.v3.FileAccessLog envoy.extensions.access_loggers.stream.v3.StdoutAccessLog envoy.extensions.access_loggers.stream.v3.StderrAccessLog"
	dnsResolvers   = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
	preserveCase   = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
	upstreamHTTP   = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	hcmMessage     = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	routerMessage  = "envoy.extensions.filters.http.router.v3.Router"
	uuidMessage    = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
	headerMutation = " request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove typed_per_filter_config"
)

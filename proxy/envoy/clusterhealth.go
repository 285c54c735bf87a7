//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Defaults of health checks (clusters.md 7.1).
const (
	defaultNoTraffic     = 60 * time.Second
	defaultHealthPayload = 1024
	maxHealthPayload     = 1 << 20
)

// healthCheck compiles health_checks, of which there can be one.
func (c *compiler) healthCheck(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	all := m.GetHealthChecks()
	if len(all) == 0 {
		return
	}
	if len(all) > 1 {
		c.errs.at(at.field("health_checks").index(1), "not supported: a cluster has one health check")
	}
	k, here := all[0], at.field("health_checks").index(0)
	interval := c.positive(k.GetInterval().AsDuration(), here.field("interval"))
	h := &conf.HealthCheck{
		Timeout: c.positive(k.GetTimeout().AsDuration(), here.field("timeout")), Interval: interval,
		InitialJitter:  c.duration(k.GetInitialJitter(), here.field("initial_jitter"), 0),
		IntervalJitter: c.duration(k.GetIntervalJitter(), here.field("interval_jitter"), 0), IntervalJitterPercent: k.GetIntervalJitterPercent(),
		UnhealthyThreshold: number(k.GetUnhealthyThreshold(), 0), HealthyThreshold: number(k.GetHealthyThreshold(), 0),
		ReuseConnection:   boolean(k.GetReuseConnection(), true),
		NoTrafficInterval: c.duration(k.GetNoTrafficInterval(), here.field("no_traffic_interval"), defaultNoTraffic),
		UnhealthyInterval: c.duration(k.GetUnhealthyInterval(), here.field("unhealthy_interval"), interval),
		EventLogPath:      k.GetEventLogPath(), AlwaysLogFailures: k.GetAlwaysLogHealthCheckFailures(), AlwaysLogSuccess: k.GetAlwaysLogHealthCheckSuccess(),
		ALPN: k.GetTlsOptions().GetAlpnProtocols(),
	}
	h.NoTrafficHealthyInterval = c.duration(k.GetNoTrafficHealthyInterval(), here.field("no_traffic_healthy_interval"), h.NoTrafficInterval)
	h.UnhealthyEdgeInterval = c.duration(k.GetUnhealthyEdgeInterval(), here.field("unhealthy_edge_interval"), h.UnhealthyInterval)
	h.HealthyEdgeInterval = c.duration(k.GetHealthyEdgeInterval(), here.field("healthy_edge_interval"), interval)
	switch check := k.GetHealthChecker().(type) {
	case *corev3.HealthCheck_HttpHealthCheck_:
		h.HTTP = c.httpHealthCheck(check.HttpHealthCheck, here.field("http_health_check"))
	case *corev3.HealthCheck_TcpHealthCheck_:
		h.TCP = c.tcpHealthCheck(check.TcpHealthCheck, here.field("tcp_health_check"))
	case *corev3.HealthCheck_GrpcHealthCheck_:
		g, in := check.GrpcHealthCheck, here.field("grpc_health_check")
		h.GRPC = &conf.GRPCHealthCheck{
			Service: g.GetServiceName(), Authority: g.GetAuthority(),
			InitialMetadata: c.plainHeaders(g.GetInitialMetadata(), in.field("initial_metadata")),
		}
		if out.Protocol != conf.UpstreamHTTP2 {
			c.errs.at(in, "needs a cluster that speaks HTTP/2 (http2_protocol_options)")
		}
	}
	out.HealthCheck = h
}

func (c *compiler) positive(d time.Duration, at place) time.Duration {
	if d < 0 {
		c.errs.at(at, "must be greater than 0")
	}
	return d
}

func (c *compiler) httpHealthCheck(m *corev3.HealthCheck_HttpHealthCheck, at place) *conf.HTTPHealthCheck {
	out := &conf.HTTPHealthCheck{
		Host: m.GetHost(), Path: m.GetPath(), Method: http.MethodGet, HTTP2: m.GetCodecClientType() == typev3.CodecClientType_HTTP2,
		ResponseBytes: defaultHealthPayload, HeadersToRemove: m.GetRequestHeadersToRemove(),
		HeadersToAdd: c.plainHeaders(m.GetRequestHeadersToAdd(), at.field("request_headers_to_add")),
		Expected:     []conf.StatusRange{{Start: 200, End: 201}}, Retriable: c.statusRanges(m.GetRetriableStatuses(), at.field("retriable_statuses")),
	}
	if !strings.HasPrefix(out.Path, "/") {
		c.errs.at(at.field("path"), "must begin with a slash")
	}
	if m.GetMethod() != corev3.RequestMethod_METHOD_UNSPECIFIED {
		out.Method = m.GetMethod().String()
	}
	if out.Method == http.MethodConnect {
		c.errs.at(at.field("method"), "cannot be CONNECT")
	}
	if len(m.GetExpectedStatuses()) > 0 {
		out.Expected = c.statusRanges(m.GetExpectedStatuses(), at.field("expected_statuses"))
	}
	if size := m.GetResponseBufferSize(); size != nil {
		if size.GetValue() > maxHealthPayload {
			c.errs.at(at.field("response_buffer_size"), "must be at most %d: buffers are always bounded", maxHealthPayload)
		} else if size.GetValue() == 0 {
			out.ResponseBytes = maxHealthPayload
		} else {
			out.ResponseBytes = int(size.GetValue())
		}
	}
	for i, p := range m.GetReceive() {
		out.Receive = append(out.Receive, c.payload(p, at.field("receive").index(i)))
	}
	if s := m.GetServiceNameMatcher(); s != nil {
		match := c.stringMatcher(s, at.field("service_name_matcher"))
		out.ServiceName = &conf.StringMatcher{Kind: match.kind, Value: match.value, IgnoreCase: match.ignoreCase}
	}
	return out
}

func (c *compiler) tcpHealthCheck(m *corev3.HealthCheck_TcpHealthCheck, at place) *conf.TCPHealthCheck {
	out := new(conf.TCPHealthCheck)
	if m.GetSend() != nil {
		out.Send = c.payload(m.GetSend(), at.field("send"))
	}
	for i, p := range m.GetReceive() {
		out.Receive = append(out.Receive, c.payload(p, at.field("receive").index(i)))
	}
	return out
}

// payload is hex text or bytes.
func (c *compiler) payload(m *corev3.HealthCheck_Payload, at place) []byte {
	if b := m.GetBinary(); b != nil {
		return b
	}
	b, err := hex.DecodeString(m.GetText())
	if err != nil {
		c.errs.at(at.field("text"), "must be hexadecimal digits, two for each byte")
	}
	return b
}

// statusRanges compiles ranges of statuses, the end not included.
func (c *compiler) statusRanges(ranges []*typev3.Int64Range, at place) []conf.StatusRange {
	var out []conf.StatusRange
	for i, r := range ranges {
		if r.GetStart() >= r.GetEnd() || r.GetStart() < 100 || r.GetEnd() > 600 {
			c.errs.at(at.index(i), "must be a range of statuses from 100 to 600, start before end")
			continue
		}
		out = append(out, conf.StatusRange{Start: uint16(r.GetStart()), End: uint16(r.GetEnd())})
	}
	return out
}

// plainHeaders compiles headers whose values are text: there is no request that they could be made of.
func (c *compiler) plainHeaders(options []*corev3.HeaderValueOption, at place) []conf.HeaderValue {
	var out []conf.HeaderValue
	for i, o := range options {
		h, here := o.GetHeader(), at.index(i).field("header")
		value := h.GetValue()
		if len(h.GetRawValue()) > 0 {
			value = string(h.GetRawValue())
		}
		if strings.Contains(strings.ReplaceAll(value, "%%", ""), "%") {
			c.errs.at(here.field("value"), "not supported: format strings in health checks; write %%%% for a percent sign")
		}
		v := conf.HeaderValue{Name: strings.ToLower(h.GetKey()), Value: strings.ReplaceAll(value, "%%", "%"), KeepEmpty: o.GetKeepEmptyValue()}
		switch o.GetAppendAction() {
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			v.Action = conf.AddIfAbsent
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			v.Action = conf.OverwriteIfExistsOrAdd
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			v.Action = conf.OverwriteIfExists
		}
		if o.GetAppend() != nil && !o.GetAppend().GetValue() {
			v.Action = conf.OverwriteIfExistsOrAdd
		}
		out = append(out, v)
	}
	return out
}

// endpointHealthCheck compiles health_check_config of an endpoint.
func (c *compiler) endpointHealthCheck(m endpointCheck, at place) conf.EndpointHealthCheck {
	out := conf.EndpointHealthCheck{Port: uint16(m.GetPortValue()), Hostname: m.GetHostname(), Disabled: m.GetDisableActiveHealthCheck()}
	if m.GetAddress() != nil {
		out.Address = c.address(m.GetAddress(), at.field("address"), staticEndpoint)
		if out.Address.Internal != "" {
			c.errs.at(at.field("address"), "cannot be checked: an internal listener has no socket")
		}
	}
	return out
}

// endpointCheck is Endpoint.HealthCheckConfig.
type endpointCheck interface {
	GetPortValue() uint32
	GetHostname() string
	GetAddress() *corev3.Address
	GetDisableActiveHealthCheck() bool
}

// outlierDetection compiles outlier_detection (clusters.md 7.2).
func (c *compiler) outlierDetection(m *clusterv3.OutlierDetection, at place, out *conf.Cluster) {
	if m == nil {
		return
	}
	o := conf.NewOutlierDetection()
	o.Consecutive5xx = number(m.GetConsecutive_5Xx(), o.Consecutive5xx)
	o.ConsecutiveGateway = number(m.GetConsecutiveGatewayFailure(), o.ConsecutiveGateway)
	o.ConsecutiveLocal = number(m.GetConsecutiveLocalOriginFailure(), o.ConsecutiveLocal)
	o.Interval = c.duration(m.GetInterval(), at.field("interval"), o.Interval)
	o.BaseEjection = c.duration(m.GetBaseEjectionTime(), at.field("base_ejection_time"), o.BaseEjection)
	o.MaxEjection = c.duration(m.GetMaxEjectionTime(), at.field("max_ejection_time"), max(o.MaxEjection, o.BaseEjection))
	if m.GetMaxEjectionTime() != nil && o.MaxEjection < o.BaseEjection {
		c.errs.at(at.field("max_ejection_time"), "must not be less than base_ejection_time")
	}
	o.EjectionJitter = c.duration(m.GetMaxEjectionTimeJitter(), at.field("max_ejection_time_jitter"), 0)
	o.MaxEjectionPercent = number(m.GetMaxEjectionPercent(), o.MaxEjectionPercent)
	o.Enforcing5xx = number(m.GetEnforcingConsecutive_5Xx(), o.Enforcing5xx)
	o.EnforcingGateway = number(m.GetEnforcingConsecutiveGatewayFailure(), o.EnforcingGateway)
	o.EnforcingLocal = number(m.GetEnforcingConsecutiveLocalOriginFailure(), o.EnforcingLocal)
	o.EnforcingSuccessRate = number(m.GetEnforcingSuccessRate(), o.EnforcingSuccessRate)
	o.EnforcingLocalSuccessRate = number(m.GetEnforcingLocalOriginSuccessRate(), o.EnforcingLocalSuccessRate)
	o.EnforcingFailurePercentage = number(m.GetEnforcingFailurePercentage(), 0)
	o.EnforcingLocalFailurePercentage = number(m.GetEnforcingFailurePercentageLocalOrigin(), 0)
	o.SuccessRateMinHosts = number(m.GetSuccessRateMinimumHosts(), o.SuccessRateMinHosts)
	o.SuccessRateVolume = number(m.GetSuccessRateRequestVolume(), o.SuccessRateVolume)
	o.SuccessRateStdevFactor = number(m.GetSuccessRateStdevFactor(), o.SuccessRateStdevFactor)
	o.FailurePercentage = number(m.GetFailurePercentageThreshold(), o.FailurePercentage)
	o.FailurePercentageMinHosts = number(m.GetFailurePercentageMinimumHosts(), o.FailurePercentageMinHosts)
	o.FailurePercentageVolume = number(m.GetFailurePercentageRequestVolume(), o.FailurePercentageVolume)
	o.Split = m.GetSplitExternalLocalOriginErrors()
	o.UnejectOnHealthCheck = boolean(m.GetSuccessfulActiveHealthCheckUnejectHost(), true)
	o.AlwaysEjectOne = boolean(m.GetAlwaysEjectOneHost(), false)
	for _, n := range []uint32{o.Consecutive5xx, o.ConsecutiveGateway, o.ConsecutiveLocal} {
		if n == 0 {
			c.errs.at(at, "a consecutive count must be greater than 0; to turn one off set its enforcing percentage to 0")
			break
		}
	}
	out.Outlier = o
}

package conf

import "time"

// RetryPolicy is config.route.v3.RetryPolicy.
type RetryPolicy struct {
	// On is retry_on as written: names of conditions of both lists, separated by commas (ROUTER-20).
	On string
	// Retries is num_retries, 1 by default; HasRetries says that it is set (ROUTER-21).
	Retries    uint32
	HasRetries bool
	// PerTryTimeout and PerTryIdleTimeout are 0 for none.
	PerTryTimeout, PerTryIdleTimeout time.Duration
	// StatusCodes are those of retriable-status-codes.
	StatusCodes []uint16
	// Headers are those of retriable-headers; RequestHeaders limit which requests are retried.
	Headers, RequestHeaders []*HeaderMatcher
	// BackOffBase and BackOffMax are retry_back_off; 0 is the default (ROUTER-31).
	BackOffBase, BackOffMax time.Duration
	RateLimited             *RateLimitedBackOff
	// Predicates are retry_host_predicate; PredicateAttempts is host_selection_retry_max_attempts.
	Predicates        RetryHostPredicates
	PredicateAttempts int
	// PriorityUpdateFrequency is that of previous_priorities; 0: retries keep to the usual priorities.
	PriorityUpdateFrequency int
}

// NewRetryPolicy returns a policy with Envoy's defaults and these conditions.
func NewRetryPolicy(on string) *RetryPolicy {
	return &RetryPolicy{On: on, Retries: 1, PredicateAttempts: 1}
}

// RetryHostPredicates say which hosts a retry keeps away from.
type RetryHostPredicates struct {
	PreviousHosts, OmitCanary bool
	// OmitMetadata: hosts with all of these metadata, for each element.
	OmitMetadata []LBMetadata
}

// RateLimitedBackOff is RetryPolicy.rate_limited_retry_back_off (ROUTER-34).
type RateLimitedBackOff struct {
	ResetHeaders []ResetHeader
	MaxInterval  time.Duration // 300 s
}

// ResetHeader is a response header that says when to come again.
type ResetHeader struct {
	Name string // lower case
	// Unix: the value is a time in seconds since 1970, not seconds from now.
	Unix bool
}

// HedgePolicy is config.route.v3.HedgePolicy as far as it has an effect (ROUTER-50).
type HedgePolicy struct{ OnPerTryTimeout bool }

// MirrorPolicy is RouteAction.RequestMirrorPolicy (RT-82).
type MirrorPolicy struct {
	// Cluster is the name; ClusterHeader the lower-case header that holds it. One of the two.
	Cluster       string
	ClusterHeader string
	RuntimeKey    string
	Fraction      Fraction // 100 % by default
	// KeepHost: the host gets no "-shadow". HostRewrite replaces it when not empty.
	KeepHost    bool
	HostRewrite string
	Headers     HeaderMutations // only the request's
}

// InternalRedirectPolicy is config.route.v3.InternalRedirectPolicy (ROUTER-65).
type InternalRedirectPolicy struct {
	Max              uint32 // 1
	Codes            []uint16
	AllowCrossScheme bool
	HeadersToCopy    []string // lower case
	// Predicates in the order they are asked.
	Predicates []RedirectPredicate
}

// RedirectPredicateKind tells the predicates of internal redirects apart.
type RedirectPredicateKind uint8

// Predicates (envoy.internal_redirect_predicates).
const (
	RedirectPreviousRoutes RedirectPredicateKind = iota
	RedirectAllowListedRoutes
	RedirectSafeCrossScheme
)

// RedirectPredicate says which targets an internal redirect may have.
type RedirectPredicate struct {
	Kind   RedirectPredicateKind
	Routes []string // names, of RedirectAllowListedRoutes
}

// RoutePolicies are what a route, or the level above it, says of tries of a request; nil and zero are "not
// said", and then the next level counts. A level that says something replaces the others whole (RT-78).
type RoutePolicies struct {
	Retry   *RetryPolicy
	Hedge   *HedgePolicy
	Mirrors []MirrorPolicy
	// BodyBufferLimit is request_body_buffer_limit and PerRequestBufferLimit the older
	// per_request_buffer_limit_bytes, in bytes (ROUTER-61).
	BodyBufferLimit, PerRequestBufferLimit       uint64
	HasBodyBufferLimit, HasPerRequestBufferLimit bool
	// InternalRedirect is the route's only.
	InternalRedirect *InternalRedirectPolicy
}

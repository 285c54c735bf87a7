// Package localratelimit is envoy.filters.http.local_ratelimit: a request without a token is answered with
// 429. There is a bucket for all requests, and others for requests with certain descriptors; they are this
// process's, or each connection's own.
package localratelimit

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/tokenbucket"
)

// limit is a compiled configuration, of a chain or a route. Immutable but for its buckets, which loops share.
type limit struct {
	c                 *conf.LocalRateLimitFilter
	enabled, enforced *runtime.Fraction
	bucket            *tokenbucket.Bucket
	descriptors       []descriptor
	makers            []maker // of the request's descriptors
	toRequest         []addition
	toResponse        []addition
	stats             *stats.HTTPLocalRateLimitStats
	grpc              string
}

// descriptor is a bucket for requests that have it.
type descriptor struct {
	text   string // as maker.append writes it
	bucket *tokenbucket.Bucket
}

// maxKept bounds what a connection keeps, over changes of the configuration.
const maxKept = 16

// buckets are those of one connection, in the order of limit's.
type buckets struct {
	all  *tokenbucket.Bucket
	each []*tokenbucket.Bucket
}

// of returns the buckets of a stream's connection, made for its first request.
func (l *limit) of(s filter.Stream) *buckets {
	conn := s.Info().Conn
	if conn.Extra == nil {
		conn.Extra = s.Worker().Extra() // the connection's end gives it back
	}
	for i := range conn.Extra.Kept {
		if k := &conn.Extra.Kept[i]; k.Key == l {
			return k.Value.(*buckets)
		}
	}
	own := new(buckets)
	if l.bucket != nil {
		own.all = tokenbucket.New(l.bucket.Spec)
	}
	for i := range l.descriptors {
		own.each = append(own.each, tokenbucket.New(l.descriptors[i].bucket.Spec))
	}
	if len(conn.Extra.Kept) >= maxKept { // those of configurations that are no more
		conn.Extra.Kept = slices.Delete(conn.Extra.Kept, 0, 1)
	}
	conn.Extra.Kept = append(conn.Extra.Kept, streaminfo.Kept{Key: l, Value: own})
	return own
}

// addition is a header to add.
type addition struct {
	c     *conf.HeaderValue
	value *format.Formatter
}

// minFill is the shortest fill_interval.
const minFill = 50 * time.Millisecond

// New compiles the filter.
func New(c *conf.LocalRateLimitFilter, d *filter.Deps) (filter.Spec, error) {
	own, err := compile(c, d)
	if err != nil {
		return filter.Spec{}, err
	}
	return filter.Spec{
		Sees: filter.RequestHead | filter.ResponseHead,
		New:  func() filter.Filter { return &instance{own: own} },
		CompileRoute: func(config any) (any, error) {
			r, ok := config.(*conf.LocalRateLimitFilter)
			if !ok {
				return nil, fmt.Errorf("%T is no configuration of the local_ratelimit filter", config)
			}
			return compile(r, d)
		},
	}, nil
}

func compile(c *conf.LocalRateLimitFilter, d *filter.Deps) (*limit, error) {
	out := &limit{
		c: c, stats: stats.NewHTTPLocalRateLimitStats(d.Registry, c.StatPrefix),
		enabled: d.Runtime.Fraction(c.Enabled.Key, c.Enabled.Default), enforced: d.Runtime.Fraction(c.Enforced.Key, c.Enforced.Default),
	}
	if c.ResourceExhausted {
		out.grpc = "8"
	}
	var err error
	if c.Bucket != nil {
		if out.bucket, err = newBucket(c.Bucket); err != nil {
			return nil, fmt.Errorf("token_bucket.%w", err)
		}
	}
	for i := range c.Descriptors {
		from := &c.Descriptors[i]
		b, err := newBucket(&from.Bucket)
		if err != nil {
			return nil, fmt.Errorf("descriptors[%d].token_bucket.%w", i, err)
		}
		var text []byte
		for _, e := range from.Entries {
			text = appendEntry(text, e.Key, []byte(e.Value))
		}
		out.descriptors = append(out.descriptors, descriptor{string(text), b})
	}
	for i := range c.Limits {
		m, err := newMaker(&c.Limits[i])
		if err != nil {
			return nil, fmt.Errorf("rate_limits[%d].%w", i, err)
		}
		out.makers = append(out.makers, m)
	}
	if out.toRequest, err = additions(c.AddWhenNotEnforced); err != nil {
		return nil, fmt.Errorf("request_headers_to_add_when_not_enforced%w", err)
	}
	if out.toResponse, err = additions(c.AddToResponse); err != nil {
		return nil, fmt.Errorf("response_headers_to_add%w", err)
	}
	return out, nil
}

func newBucket(c *conf.TokenBucket) (*tokenbucket.Bucket, error) {
	switch {
	case c.MaxTokens == 0:
		return nil, fmt.Errorf("max_tokens: must be at least 1")
	case c.TokensPerFill == 0:
		return nil, fmt.Errorf("tokens_per_fill: must be at least 1")
	case c.FillInterval < minFill:
		return nil, fmt.Errorf("fill_interval: must be at least %v", minFill)
	}
	return tokenbucket.New(tokenbucket.Spec{MaxTokens: c.MaxTokens, TokensPerFill: c.TokensPerFill, FillInterval: c.FillInterval}), nil
}

func additions(list []conf.HeaderValue) (out []addition, err error) {
	for i := range list {
		if err = match.CheckName(list[i].Name); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		a := addition{c: &list[i]}
		if a.value, err = format.Compile(list[i].Value); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func add(list []addition, h *header.Head, s filter.Stream) {
	for i := range list {
		route.ApplyHeader(h, list[i].c, list[i].value.AppendHeader(s.Worker().Loop.Scratch(), s.Info()))
	}
}

type instance struct {
	filter.PassThrough
	own     *limit
	used    *limit              // the one that judged the request; nil: none did
	bucket  *tokenbucket.Bucket // that had, or did not have, a token; nil: none
	limited bool
}

// RequestHead takes a token.
func (f *instance) RequestHead(s filter.Stream, _ bool) filter.Status {
	l := f.own
	if r, ok := s.RouteConfig().(*limit); ok {
		l = r
	}
	w := s.Worker()
	if !l.enabled.Enabled(w.Random.Uint64()) {
		return filter.Continue
	}
	w.Stats.Inc(l.stats.Enabled)
	f.used = l
	if f.take(s, l) {
		w.Stats.Inc(l.stats.OK)
		return filter.Continue
	}
	w.Stats.Inc(l.stats.RateLimited)
	if !l.enforced.Enabled(w.Random.Uint64()) {
		add(l.toRequest, s.Request(), s)
		return filter.Continue
	}
	w.Stats.Inc(l.stats.Enforced)
	f.limited = true
	s.Reply(filter.Reply{Reason: reason.LocalRateLimited, Status: l.c.Status, GRPC: l.grpc})
	return filter.Pause
}

// take takes a token from the buckets of the request's descriptors, and from that for all requests when
// there is none of them, or it is always to be asked.
func (f *instance) take(s filter.Stream, l *limit) bool {
	now, found := s.Worker().Loop.Now(), false
	all, own := l.bucket, (*buckets)(nil)
	if l.c.PerConnection {
		own = l.of(s)
		all = own.all
	}
	for i := range l.makers {
		text, ok := l.makers[i].append(s.Worker().Loop.Scratch(), s)
		if !ok {
			continue
		}
		for k := range l.descriptors {
			d := &l.descriptors[k]
			if d.text != string(text) {
				continue
			}
			found = true
			b := d.bucket
			if own != nil {
				b = own.each[k]
			}
			f.note(b, now)
			if !b.Take(now) {
				f.bucket = b
				return false
			}
		}
	}
	if all == nil || found && !l.c.AlwaysDefault {
		return true
	}
	f.note(all, now)
	if !all.Take(now) {
		f.bucket = all
		return false
	}
	return true
}

// note keeps the bucket with the fewest tokens, for x-ratelimit headers.
func (f *instance) note(b *tokenbucket.Bucket, now int64) {
	if f.bucket == nil || b.Tokens(now) < f.bucket.Tokens(now) {
		f.bucket = b
	}
}

var (
	limitName     = match.NewName("x-ratelimit-limit")
	remainingName = match.NewName("x-ratelimit-remaining")
	resetName     = match.NewName("x-ratelimit-reset")
)

// ResponseHead says what is left, and adds to a reply of this filter.
func (f *instance) ResponseHead(s filter.Stream, _ bool) filter.Status {
	l := f.used
	if l == nil {
		return filter.Continue
	}
	h := s.Response()
	if f.limited {
		add(l.toResponse, h, s)
	}
	if l.c.XRateLimit && f.bucket != nil {
		now := s.Worker().Loop.Now()
		var b [20]byte
		limitName.Set(h, strconv.AppendUint(b[:0], uint64(f.bucket.MaxTokens), 10))
		remainingName.Set(h, strconv.AppendUint(b[:0], uint64(f.bucket.Tokens(now)), 10))
		seconds := (f.bucket.NextFill(now) + time.Second - 1) / time.Second
		resetName.Set(h, strconv.AppendInt(b[:0], int64(seconds), 10))
	}
	return filter.Continue
}

// Done implements filter.Filter.
func (f *instance) Done(filter.Stream) { f.used, f.bucket, f.limited = nil, nil, false }

package retry

import (
	"fmt"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// Policy is a compiled conf.RetryPolicy. Immutable, shared by all loops.
type Policy struct {
	Config *conf.RetryPolicy
	On     Conditions

	codes          codeSet
	headers        []match.Header
	requestHeaders []match.Header
	resets         []resetHeader
}

type resetHeader struct {
	name match.Name
	unix bool
}

// Compile makes the runtime form of c. Errors name the field.
func Compile(c *conf.RetryPolicy) (*Policy, error) {
	p := &Policy{Config: c}
	p.On, _ = Parse(c.On) // unknown names have no effect, as in headers
	for i, code := range c.StatusCodes {
		if code < leastCode || code > mostCode {
			return nil, fmt.Errorf("retriable_status_codes[%d]: %d is no status", i, code)
		}
		p.codes.add(code)
	}
	var err error
	if p.headers, err = match.CompileHeaders(c.Headers, "retriable_headers"); err != nil {
		return nil, err
	}
	if p.requestHeaders, err = match.CompileHeaders(c.RequestHeaders, "retriable_request_headers"); err != nil {
		return nil, err
	}
	if c.BackOffMax > 0 && c.BackOffMax < c.BackOffBase {
		return nil, fmt.Errorf("retry_back_off.max_interval: %v is less than base_interval, %v", c.BackOffMax, c.BackOffBase)
	}
	if r := c.RateLimited; r != nil {
		for _, h := range r.ResetHeaders {
			p.resets = append(p.resets, resetHeader{match.NewName(h.Name), h.Unix})
		}
	}
	return p, nil
}

// PerTryTimeout returns the policy's; 0 for none, and of a nil policy. PerTryIdleTimeout likewise.
func (p *Policy) PerTryTimeout() time.Duration {
	if p == nil {
		return 0
	}
	return p.Config.PerTryTimeout
}

// PerTryIdleTimeout returns the policy's; 0 for none.
func (p *Policy) PerTryIdleTimeout() time.Duration {
	if p == nil {
		return 0
	}
	return p.Config.PerTryIdleTimeout
}

const (
	leastCode = 100
	mostCode  = 599
)

// codeSet is a set of statuses from 100 to 599.
type codeSet [(mostCode - leastCode + 64) / 64]uint64

func (s *codeSet) add(code uint16) { s[(code-leastCode)/64] |= 1 << ((code - leastCode) % 64) }
func (s *codeSet) has(code uint16) bool {
	return code >= leastCode && code <= mostCode && s[(code-leastCode)/64]&(1<<((code-leastCode)%64)) != 0
}

package worker

import (
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// HTTP2Counters are the codec's counters by their number.
func HTTP2Counters(s *stats.HTTP2Stats) [http2.NumCounters]stats.Counter {
	return [http2.NumCounters]stats.Counter{
		http2.RxMessagingError: s.RxMessagingError, http2.RxReset: s.RxReset, http2.TxReset: s.TxReset, http2.Trailers: s.Trailers,
		http2.StreamRefusedErrors: s.StreamRefusedErrors, http2.HeadersCbNoStream: s.HeadersCbNoStream, http2.HeaderOverflow: s.HeaderOverflow,
		http2.DroppedHeadersWithUnderscores:   s.DroppedHeadersWithUnderscores,
		http2.RequestsRejectedWithUnderscores: s.RequestsRejectedWithUnderscoresInHeaders,
		http2.OutboundFlood:                   s.OutboundFlood, http2.OutboundControlFlood: s.OutboundControlFlood,
		http2.InboundEmptyFramesFlood: s.InboundEmptyFramesFlood, http2.InboundPriorityFramesFlood: s.InboundPriorityFramesFlood,
		http2.InboundWindowUpdateFramesFlood: s.InboundWindowUpdateFramesFlood, http2.GoAwaySent: s.GoAwaySent,
	}
}

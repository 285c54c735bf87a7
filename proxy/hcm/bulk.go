package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
)

// bulkBytes is how much of a body of known length must be left for the engine to carry it: below,
// copying from the read buffer costs less than handing over (bench, 10 KiB and 1 MiB rows).
const bulkBytes = 32 << 10

// A body of known length between two plain HTTP/1 connections needs no decoding: once its framing is
// decided, a relay.Pump moves what is left of it, by splice(2) where that pays, and gives both
// connections back after the last byte. Pauses then happen in the kernel and are not counted as flow
// control events; timeouts, byte counts and endings are those of the general path.

// tryDownload hands the rest of a response body to the engine.
func (a *attempt) tryDownload() {
	st := a.st
	left := a.body.Remaining()
	if left < bulkBytes || a.resp.Transfer != header.Length || a.paused || st.over || !st.bulkResponse() {
		return
	}
	dst := st.down.bare(st)
	if dst == nil || dst.Above() {
		return
	}
	st.w.FlushHeads()
	a.pc.PauseRead() // the pump resumes it: what is read until then would not be in left
	a.download.Start(a.pc.Conn, dst, left, (*downloadDone)(a))
}

// tryUpload hands the rest of a request body to the engine. src is the client's connection.
func (a *attempt) tryUpload(src *engine.Conn, left int64) {
	if left < bulkBytes || a.state != attemptHead || a.encoding != header.Length || a.pc.Above() {
		return
	}
	a.st.w.FlushHeads()
	src.PauseRead()
	a.upload.Start(src, a.pc.Conn, left, (*uploadDone)(a))
}

// stopPumps ends bulk transfers that are under way, keeping what they moved in the counts.
func (a *attempt) stopPumps() {
	if a.download.Active() {
		a.downloaded(a.download.Moved())
		a.download.Stop()
	}
	if a.upload.Active() {
		a.uploaded(a.upload.Moved())
		a.upload.Stop()
	}
}

// downloaded and uploaded count what a pump moved: bare body bytes, the same on both wires.
func (a *attempt) downloaded(n uint64) {
	st := a.st
	st.info.BytesSent += n
	a.info.UpstreamWireReceived += n
	a.rsBody += n
	st.info.DownstreamWireSent += n
}

func (a *attempt) uploaded(n uint64) {
	st := a.st
	st.info.BytesReceived += n
	st.info.DownstreamWireReceived += n
	a.info.UpstreamWireSent += n
	a.rqBody += n
}

// downloadDone is an attempt as its download's owner.
type downloadDone attempt

// OnPipeDone ends the response, or what there is of it.
func (d *downloadDone) OnPipeDone(p *relay.Pump, r relay.Result) {
	a := (*attempt)(d)
	st, w := a.st, a.st.w
	a.downloaded(p.Moved())
	st.moved()
	a.body.Skip(int64(p.Moved()))
	switch r {
	case relay.Limit:
		a.finished()
		st.onResponseData(nil, true)
	case relay.End:
		a.endOfStream()
	case relay.WriteFailed:
		// What the pump had taken is lost, so there is no going on; the client's OnClosed would come late
		// if more of what it sent waits than is read.
		st.down.clientEnded(st)
	}
	w.FlushHeads()
}

// uploadDone is an attempt as its upload's owner.
type uploadDone attempt

// OnPipeDone ends the request, or reports that the client is gone.
func (u *uploadDone) OnPipeDone(p *relay.Pump, r relay.Result) {
	a := (*attempt)(u)
	st, w := a.st, a.st.w
	a.uploaded(p.Moved())
	st.moved()
	st.down.uploaded(st, int64(p.Moved()))
	switch r {
	case relay.Limit:
		st.onRequestData(nil, true)
	case relay.End:
		st.down.clientEnded(st)
	case relay.WriteFailed:
		// The origin's answer, or its OnClosed, follows.
	}
	w.FlushHeads()
}

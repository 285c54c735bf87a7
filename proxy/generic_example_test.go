package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// words is a protocol: a request is a line "VERB key", a response a line "+text" or "-error", in the order
// of the requests.
type words struct{}

func (words) Protocol() string                  { return "words" }
func (words) Matching() frame.Matching          { return frame.InOrder }
func (words) MaxBuffered() int                  { return maxLine }
func (words) NewRequestDecoder() frame.Decoder  { return &wordsDecoder{} }
func (words) NewResponseDecoder() frame.Decoder { return &wordsDecoder{response: true} }
func (words) AppendReply(dst []byte, _ *frame.Frame, _ frame.Status, details string) ([]byte, uint16) {
	return fmt.Appendf(dst, "-%s\n", details), 1
}

const maxLine = 1024

type wordsDecoder struct {
	response bool
	seen     int // bytes without a line end
}

func (d *wordsDecoder) Reset() { d.seen = 0 }

func (d *wordsDecoder) Next(b []byte, f *frame.Frame) (int, error) {
	end := bytes.IndexByte(b[d.seen:], '\n')
	if end < 0 {
		if d.seen = len(b); d.seen >= maxLine {
			return 0, frame.Error("words: a line of more than 1 KiB")
		}
		return 0, nil
	}
	end += d.seen
	d.seen = 0
	f.Flags = frame.Header | frame.End
	if d.response {
		if f.Failed = b[0] == '-'; f.Failed {
			f.Code = 1
		}
	} else {
		f.Method, f.Path, _ = bytes.Cut(b[:end], []byte(" "))
	}
	return end + 1, nil
}

// A protocol of one's own through the generic proxy: a codec, and a configuration that names it.
func Example_genericCodec() {
	origin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer origin.Close()
	go shout(origin)

	words := words{}
	listener := conf.NewListener("in", netip.MustParseAddrPort("127.0.0.1:0"), &conf.FilterChain{
		Generic: conf.NewGenericProxy("words", conf.GenericCodec{Name: "words"}, "origin"),
	})
	server, err := proxy.New(proxy.Options{
		Config: &conf.Bootstrap{
			Listeners: []*conf.Listener{listener},
			Clusters:  []*conf.Cluster{conf.NewCluster("origin", netip.MustParseAddrPort(origin.Addr().String()))},
		},
		GenericCodecs: map[string]frame.Codec{"words": words},
	})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	if err := server.Start(context.Background()); err != nil {
		panic(err)
	}
	client, err := net.Dial("tcp", server.Listeners()[0].Addresses[0].String())
	if err != nil {
		panic(err)
	}
	defer client.Close()
	fmt.Fprint(client, "SAY hello\nSAY again\n") // two requests at once, over two connections
	in := bufio.NewScanner(client)
	for range 2 {
		in.Scan()
		fmt.Println(in.Text())
	}
	// Output:
	// +SAY hello!
	// +SAY again!
}

// shout answers each line with the same and a mark.
func shout(origin net.Listener) {
	for {
		c, err := origin.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			for in := bufio.NewScanner(c); in.Scan(); {
				fmt.Fprintf(c, "+%s!\n", in.Text())
			}
		}()
	}
}

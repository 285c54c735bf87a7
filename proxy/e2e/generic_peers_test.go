package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/redis/go-redis/v9"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// go-redis over RESP2 and RESP3: pipelines, transactions, watches, subscriptions, blocking commands.
func TestGenericGoRedis(t *testing.T) {
	harness.NoLeaks(t)
	server := startRedis(t)
	p := harness.StartGeneric(t, harness.GenericTopology{Codec: "redis", CodecFields: "pipelining: true", Bind: true, Clusters: to(server), Action: "timeout: 0s"})
	ctx, cancel := context.WithTimeout(context.Background(), 2*harness.Patience)
	defer cancel()
	for _, version := range []int{2, 3} {
		r := redis.NewClient(&redis.Options{Addr: p.Addr, Protocol: version, PoolSize: 4})
		key := fmt.Sprintf("key%d", version)
		if err := r.Set(ctx, key, "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		pipe := r.Pipeline()
		var all []*redis.StringCmd
		for range 200 {
			all = append(all, pipe.Get(ctx, key))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if c.Val() != "v" {
				t.Fatalf("%q", c.Val())
			}
		}
		if err := r.Watch(ctx, func(tx *redis.Tx) error {
			_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Incr(ctx, key+"n")
				p.HSet(ctx, key+"h", "f", 1.5)
				p.HGetAll(ctx, key+"h")
				return nil
			})
			return err
		}, key); err != nil {
			t.Error(err)
		}
		sub := r.Subscribe(ctx, "a", "b")
		for range 2 {
			if _, err := sub.Receive(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n := r.Publish(ctx, "b", "hello").Val(); n != 1 {
			t.Errorf("%d subscribers", n)
		}
		if m, err := sub.ReceiveMessage(ctx); err != nil || m.Payload != "hello" {
			t.Errorf("%v, %v", m, err)
		}
		if err := sub.Unsubscribe(ctx); err != nil {
			t.Error(err)
		}
		_ = sub.Close()
		got := make(chan string, 1)
		go func() {
			v, err := r.BLPop(ctx, 0, key+"q").Result()
			got <- fmt.Sprint(v, err)
		}()
		harness.Eventually(t, "a blocked client", func() bool { return strings.Contains(r.Info(ctx, "clients").Val(), "blocked_clients:1") })
		r.RPush(ctx, key+"q", "job")
		if v := <-got; v != fmt.Sprintf("[%sq job] <nil>", key) {
			t.Error(v)
		}
		_ = r.Close()
	}
}

// echoProcessor answers every call with its argument, and fails the method "fail"; "Svc:" before a name
// is the multiplexed protocol's.
type echoProcessor struct{}

func (echoProcessor) ProcessorMap() map[string]thrift.TProcessorFunction  { return nil }
func (echoProcessor) AddToProcessorMap(string, thrift.TProcessorFunction) {}
func (echoProcessor) Process(ctx context.Context, in, out thrift.TProtocol) (bool, thrift.TException) {
	name, kind, seq, err := in.ReadMessageBegin(ctx)
	if err != nil {
		return false, thrift.WrapTException(err)
	}
	if _, err = in.ReadStructBegin(ctx); err == nil {
		_, _, _, err = in.ReadFieldBegin(ctx)
	}
	text := ""
	if err == nil {
		text, err = in.ReadString(ctx)
	}
	if err == nil {
		_, _, _, err = in.ReadFieldBegin(ctx) // stop
	}
	if err != nil {
		return false, thrift.WrapTException(err)
	}
	_ = in.ReadMessageEnd(ctx)
	if kind == thrift.ONEWAY {
		return true, nil
	}
	name = name[strings.LastIndexByte(name, ':')+1:] // as a multiplexed processor answers
	if strings.HasSuffix(name, "fail") {
		x := thrift.NewTApplicationException(thrift.INTERNAL_ERROR, text)
		_ = out.WriteMessageBegin(ctx, name, thrift.EXCEPTION, seq)
		_ = x.Write(ctx, out)
	} else {
		_ = out.WriteMessageBegin(ctx, name, thrift.REPLY, seq)
		_ = out.WriteStructBegin(ctx, "r")
		_ = out.WriteFieldBegin(ctx, "s", thrift.STRING, 0)
		_ = out.WriteString(ctx, text)
		_ = out.WriteFieldStop(ctx)
	}
	_ = out.WriteMessageEnd(ctx)
	return true, thrift.WrapTException(out.Flush(ctx))
}

// text is a struct of one string.
type text struct {
	id int16
	s  string
}

func (x *text) Write(ctx context.Context, p thrift.TProtocol) error {
	_ = p.WriteStructBegin(ctx, "a")
	_ = p.WriteFieldBegin(ctx, "s", thrift.STRING, x.id)
	_ = p.WriteString(ctx, x.s)
	return p.WriteFieldStop(ctx)
}

func (x *text) Read(ctx context.Context, p thrift.TProtocol) error {
	_, _ = p.ReadStructBegin(ctx)
	_, kind, _, err := p.ReadFieldBegin(ctx)
	if err != nil || kind == thrift.STOP {
		return err
	}
	if x.s, err = p.ReadString(ctx); err != nil {
		return err
	}
	_, _, _, err = p.ReadFieldBegin(ctx)
	return err
}

// Apache Thrift's client and server, over each transport and protocol.
func TestGenericThrift(t *testing.T) {
	harness.NoLeaks(t)
	conf := &thrift.TConfiguration{ConnectTimeout: harness.Patience, SocketTimeout: harness.Patience}
	compact := thrift.THeaderProtocolCompact
	compactConf := &thrift.TConfiguration{ConnectTimeout: harness.Patience, SocketTimeout: harness.Patience, THeaderProtocolID: &compact}
	framed, headers := thrift.NewTFramedTransportFactoryConf(thrift.NewTTransportFactory(), conf), thrift.NewTHeaderTransportFactoryConf(nil, conf)
	for name, tc := range map[string]struct {
		transport thrift.TTransportFactory
		protocol  thrift.TProtocolFactory
		fields    string
	}{
		"framed, binary":  {framed, thrift.NewTBinaryProtocolFactoryConf(conf), "protocol: BINARY"},
		"framed, compact": {framed, thrift.NewTCompactProtocolFactoryConf(conf), "protocol: COMPACT"},
		"header, binary":  {headers, thrift.NewTHeaderProtocolFactoryConf(conf), ""},
		"header, compact": {thrift.NewTHeaderTransportFactoryConf(nil, compactConf), thrift.NewTHeaderProtocolFactoryConf(compactConf), ""},
	} {
		for _, bind := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, bound %t", name, bind), func(t *testing.T) {
				socket, err := thrift.NewTServerSocket("127.0.0.1:0")
				if err == nil {
					err = socket.Listen()
				}
				if err != nil {
					t.Fatal(err)
				}
				server := thrift.NewTSimpleServer4(echoProcessor{}, socket, tc.transport, tc.protocol)
				done := make(chan struct{})
				go func() { defer close(done); _ = server.Serve() }()
				p := harness.StartGeneric(t, harness.GenericTopology{
					Codec: "thrift", CodecFields: tc.fields, Bind: bind, NotSettled: true, Clusters: to(harness.At(socket.Addr().String())),
					RouteConfig: "virtual_hosts: [{ name: nope, hosts: [nope], routes: { matcher_tree: { " + harness.GenericInput("Method", "") + ", exact_match_map: { map: { x: { " + harness.GenericAction("cluster: origin") + " } } } } } }]\n" +
						"routes: { on_no_match: { " + harness.GenericAction("name: all, cluster: origin") + " } }",
				})
				ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
				defer cancel()
				conn := thrift.NewTSocketConf(p.Addr, conf)
				transport, err := tc.transport.GetTransport(conn)
				if err == nil {
					err = transport.Open()
				}
				if err != nil {
					t.Fatal(err)
				}
				protocol := tc.protocol.GetProtocol(transport)
				c := thrift.NewTStandardClient(protocol, protocol)
				for i := range 20 {
					want := strings.Repeat(fmt.Sprint(i), i*i*i)
					r := &text{}
					if _, err := c.Call(ctx, "echo", &text{1, want}, r); err != nil || r.s != want {
						t.Fatalf("%d bytes of %d, %v", len(r.s), len(want), err)
					}
				}
				_ = protocol.WriteMessageBegin(ctx, "note", thrift.ONEWAY, 1000)
				_ = (&text{1, "x"}).Write(ctx, protocol)
				if _ = protocol.WriteMessageEnd(ctx); protocol.Flush(ctx) != nil {
					t.Fatal("a one-way call")
				}
				service := func(name string) *thrift.TStandardClient {
					return thrift.NewTStandardClient(protocol, thrift.NewTMultiplexedProtocol(protocol, name))
				}
				if _, err := service("Svc").Call(ctx, "echo", &text{1, "x"}, &text{}); err != nil {
					t.Error(err)
				}
				for method, want := range map[string]string{"fail": "boom", "echo": "route_not_found"} {
					client := c
					if method == "echo" {
						client = service("nope")
					}
					_, err := client.Call(ctx, method, &text{1, "boom"}, &text{})
					x, ok := err.(thrift.TApplicationException)
					if !ok || !strings.Contains(x.Error(), want) {
						t.Errorf("%s: %v", method, err)
					}
				}
				_ = transport.Close()
				p.WantQuiet()
				p.WantStats(harness.Stats{inGeneric + "downstream_rq_total": 24, inGeneric + "downstream_rq_local": 1, inGeneric + "downstream_rq_error": 2, inGeneric + "downstream_rq_reset": 0})
				lines := p.AwaitLines(24)
				if all := strings.Join(lines, "|"); !strings.Contains(all, "echo Svc 0 - via_upstream") || !strings.Contains(all, "echo nope 1 NR route_not_found") || !strings.Contains(all, "note - 0 - one_way") {
					t.Errorf("%s", all)
				}
				_ = p.Server.Close()
				_ = server.Stop()
				<-done
			})
		}
	}
}

// memcacheClient speaks the binary protocol.
type memcacheClient struct {
	c  net.Conn
	in *bufio.Reader
	t  *testing.T
}

type memcachePacket struct {
	op                 byte
	status             uint16
	opaque             uint32
	extras, key, value string
}

func (m *memcacheClient) send(all ...memcachePacket) {
	m.t.Helper()
	var b []byte
	for _, p := range all {
		b = append(b, 0x80, p.op, byte(len(p.key)>>8), byte(len(p.key)), byte(len(p.extras)), 0, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(len(p.extras)+len(p.key)+len(p.value)))
		b = binary.BigEndian.AppendUint32(b, p.opaque)
		b = append(append(append(append(b, 0, 0, 0, 0, 0, 0, 0, 0), p.extras...), p.key...), p.value...)
	}
	if _, err := m.c.Write(b); err != nil {
		m.t.Fatal(err)
	}
}

func (m *memcacheClient) read() memcachePacket {
	m.t.Helper()
	_ = m.c.SetDeadline(time.Now().Add(harness.Patience))
	h := make([]byte, 24)
	if _, err := io.ReadFull(m.in, h); err != nil {
		m.t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(h[8:]))
	if _, err := io.ReadFull(m.in, body); err != nil {
		m.t.Fatal(err)
	}
	extras, key := int(h[4]), int(binary.BigEndian.Uint16(h[2:]))
	return memcachePacket{h[1], binary.BigEndian.Uint16(h[6:]), binary.BigEndian.Uint32(h[12:]), string(body[:extras]), string(body[extras : extras+key]), string(body[extras+key:])}
}

// memcached with a client of its binary protocol.
func TestGenericMemcached(t *testing.T) {
	tool := harness.Tool(t, "memcached")
	harness.NoLeaks(t)
	for _, bind := range []bool{true, false} {
		server := harness.StartDaemon(t, func(port string) *exec.Cmd {
			return exec.Command(tool, "-l", "127.0.0.1", "-p", port, "-U", "0", "-u", "root", "-t", "1")
		})
		p := harness.StartGeneric(t, harness.GenericTopology{Codec: "memcache", Bind: bind, Clusters: to(server)})
		c := p.Dial()
		m := &memcacheClient{c: c.Conn, in: bufio.NewReader(c.Conn), t: t}
		big := strings.Repeat("v", 300<<10)
		for i := range uint32(50) {
			m.send(memcachePacket{op: 1, opaque: i, extras: "\x00\x00\x00\x00\x00\x00\x00\x00", key: fmt.Sprint("k", i), value: fmt.Sprint("value", i)})
		}
		seen := map[uint32]bool{}
		for range 50 {
			r := m.read()
			if r.status != 0 || seen[r.opaque] {
				t.Fatalf("%+v", r)
			}
			seen[r.opaque] = true
		}
		m.send(memcachePacket{op: 1, opaque: 7, extras: "\x00\x00\x00\x00\x00\x00\x00\x00", key: "big", value: big})
		m.read()
		m.send(memcachePacket{op: 0, opaque: 8, key: "big"}, memcachePacket{op: 0, opaque: 9, key: "missing"})
		for range 2 {
			switch r := m.read(); r.opaque {
			case 8:
				if r.value != big {
					t.Errorf("%d bytes of %d", len(r.value), len(big))
				}
			case 9:
				if r.status != 1 {
					t.Errorf("%+v", r)
				}
			}
		}
		m.send(memcachePacket{op: 0x10, opaque: 10}) // Stat: many packets
		n := 0
		for r := m.read(); r.key != ""; r = m.read() {
			n++
		}
		if n < 10 {
			t.Errorf("%d statistics", n)
		}
		if bind { // quiet gets, and a Noop behind them
			m.send(memcachePacket{op: 0x0d, opaque: 11, key: "k1"}, memcachePacket{op: 0x0d, opaque: 12, key: "nope"}, memcachePacket{op: 0x0d, opaque: 13, key: "k3"}, memcachePacket{op: 0x0a, opaque: 14})
			if a, b, end := m.read(), m.read(), m.read(); a.key != "k1" || a.value != "value1" || b.key != "k3" || end.op != 0x0a {
				t.Errorf("%+v %+v %+v", a, b, end)
			}
			m.send(memcachePacket{op: 7, opaque: 15})
			if r := m.read(); r.op != 7 {
				t.Errorf("%+v", r)
			}
			if rest, err := io.ReadAll(m.in); len(rest) > 0 || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
			p.WantStats(harness.Stats{inGeneric + "downstream_rq_total": 59, inGeneric + "downstream_rq_code.1": 1, onOrigin + "upstream_cx_total": 1})
			continue
		}
		m.send(memcachePacket{op: 0x0d, opaque: 11, key: "k1"}, memcachePacket{op: 0x0a, opaque: 14})
		if r := m.read(); r.op != 0x0a { // a quiet request has no answer that says why it was refused
			t.Errorf("%+v", r)
		}
		c.Close()
		p.WantStats(harness.Stats{inGeneric + "downstream_rq_total": 56, inGeneric + "downstream_rq_flag.DPE": 1})
	}
}

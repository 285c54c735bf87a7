package secure

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const (
	updatesName  = "listener.127.0.0.1_443.server_ssl_socket_factory.ssl_context_update_by_sds"
	failuresName = "listener.127.0.0.1_443.server_ssl_socket_factory.key_rotation_failed"
)

// presented is what a new client sees.
func presented(t testing.TB, d *Downstream) string {
	t.Helper()
	o := shake(t, d.Config(), anyone())
	if o.clientErr != nil {
		t.Fatal(o.clientErr, o.serverErr)
	}
	return serialText(o.client.PeerCertificates[0].SerialNumber)
}

func TestChangedFilesComeIntoForce(t *testing.T) {
	ca := authority(t, nil, "ca")
	dir := t.TempDir()
	first, second := leaf(t, ca, "a.test"), leaf(t, ca, "a.test")
	files := first.files(t, dir, "a")
	r := newRig(t)
	c := &conf.DownstreamTLS{SessionTickets: true, CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{files}}}
	d := r.down(c)
	client := map[string]*tls.Config{"1.2": returning(only(tls.VersionTLS12)), "1.3": returning(only(tls.VersionTLS13))}
	for v, config := range client {
		resumed(t, v+" before", d, config, false)
		resumed(t, v+" before, again", d, config, true)
	}
	is := func(p *pair) bool { return presented(t, d) == serialText(p.cert.SerialNumber) }
	if !is(first) {
		t.Fatal("the first certificate is not presented")
	}
	config := d.Config()

	// A chain without its key is nothing yet; with it, it is.
	write(t, files.Chain.File, second.chain())
	eventually(t, "half a change is refused", func() bool { return r.counter(failuresName) == 1 })
	if !is(first) || r.log.count("private_key: is not the key of the certificate") != 1 {
		t.Errorf("half a change: %s", r.log.text.String())
	}
	write(t, files.Key.File, second.keyPEM())
	eventually(t, "the change is in force", func() bool { return r.counter(updatesName) == 1 })
	if !is(second) || d.Config() != config {
		t.Error("the second certificate is not presented, or the Config is another one")
	}
	for v, config := range client {
		resumed(t, v+" after", d, config, true)
	}

	// A file that is none, and none at all, change nothing.
	write(t, files.Key.File, []byte("nonsense"))
	eventually(t, "a bad key is refused", func() bool { return r.counter(failuresName) == 2 })
	must(t, os.Remove(files.Key.File))
	eventually(t, "a missing key is refused", func() bool { return r.counter(failuresName) == 3 })
	if !is(second) {
		t.Error("a bad file took the certificate away")
	}
	write(t, files.Key.File, second.keyPEM())
	eventually(t, "the repaired file is in force", func() bool { return r.counter(updatesName) == 2 })
}

func TestConfigMapsAreFollowed(t *testing.T) {
	ca := authority(t, nil, "ca")
	dir := t.TempDir()
	swap := func(version string, p *pair) {
		must(t, os.Mkdir(filepath.Join(dir, version), 0o755))
		p.files(t, filepath.Join(dir, version), "tls")
		must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	first, second := leaf(t, ca, "a.test"), leaf(t, ca, "a.test")
	swap("..1", first)
	for _, name := range []string{"tls.crt", "tls.key"} {
		must(t, os.Symlink("..data/"+name, filepath.Join(dir, name)))
	}
	r := newRig(t)
	d := r.down(&conf.DownstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{{
		Chain: conf.DataSource{File: filepath.Join(dir, "tls.crt")}, Key: conf.DataSource{File: filepath.Join(dir, "tls.key")},
	}}}})
	swap("..2", second)
	must(t, os.RemoveAll(filepath.Join(dir, "..1")))
	eventually(t, "the swap is in force", func() bool { return presented(t, d) == serialText(second.cert.SerialNumber) })
	if n := r.counter(failuresName); n != 0 {
		t.Errorf("%d failures: %s", n, r.log.text.String())
	}
}

// A link to a directory is no entry of the directory that is watched.
func TestDirectoriesMayBeReplaced(t *testing.T) {
	ca := authority(t, nil, "ca")
	root := t.TempDir()
	link := filepath.Join(root, "live")
	for i := range 2 {
		must(t, os.Mkdir(filepath.Join(root, fmt.Sprint(i)), 0o755))
	}
	first, second, third := leaf(t, ca, "a.test"), leaf(t, ca, "a.test"), leaf(t, ca, "a.test")
	first.files(t, filepath.Join(root, "0"), "a")
	second.files(t, filepath.Join(root, "1"), "a")
	must(t, os.Symlink("0", link))
	r := newRig(t)
	d := r.down(&conf.DownstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{{
		Chain: conf.DataSource{File: filepath.Join(link, "a.crt")}, Key: conf.DataSource{File: filepath.Join(link, "a.key")},
	}}}})
	must(t, os.Symlink("1", link+".new"))
	must(t, os.Rename(link+".new", link))
	eventually(t, "the other directory is in force", func() bool { return presented(t, d) == serialText(second.cert.SerialNumber) })

	must(t, os.RemoveAll(filepath.Join(root, "1")))
	eventually(t, "its end is seen", func() bool { return r.counter(failuresName) > 0 })
	must(t, os.Mkdir(filepath.Join(root, "1"), 0o755))
	third.files(t, filepath.Join(root, "1"), "a")
	eventually(t, "a new one in its place is in force", func() bool { return presented(t, d) == serialText(third.cert.SerialNumber) })
}

// Where nothing can be watched files are read from time to time.
func TestFilesThatCannotBeWatchedArePolled(t *testing.T) {
	r := newRig(t)
	w := &watcher{m: r.Manager, dirs: make(map[string]os.FileInfo), bases: make(map[string]bool), paths: []string{"/nowhere/x"}}
	if w.look(); !w.blind {
		t.Error("without a watcher the files would never be read")
	}
	w.paths = nil
	if w.look(); w.blind {
		t.Error("there is nothing to read")
	}
}

func TestSameContextsAreOne(t *testing.T) {
	ca := authority(t, nil, "ca")
	id := leaf(t, ca, "a.test")
	dir := t.TempDir()
	files := id.files(t, dir, "a")
	make := func() *conf.DownstreamTLS {
		one := *files
		return &conf.DownstreamTLS{SessionTickets: true, CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{&one}}}
	}
	r := newRig(t)
	a, b := r.down(make()), r.down(make())
	if a != b {
		t.Error("the same configuration makes two contexts, and sessions end")
	}
	other, err := r.Downstream(make(), "127.0.0.1:443", []string{"a.test"})
	must(t, err)
	elsewhere, err := r.Downstream(make(), "127.0.0.1:444", nil)
	must(t, err)
	if other == a || elsewhere == a {
		t.Error("another chain's or listener's context is shared")
	}
	u, v := r.up(&conf.UpstreamTLS{SNI: "a"}), r.up(&conf.UpstreamTLS{SNI: "b"})
	if u == v || u != r.up(&conf.UpstreamTLS{SNI: "a"}) {
		t.Error("upstream contexts are confused")
	}
	a.Release()
	if r.down(make()) != a {
		t.Error("a context in use was let go of")
	}
	a.Release()
	a.Release()
	if r.down(make()) == a {
		t.Error("a context that nobody uses is still there")
	}
}

func TestReloadUnderLoad(t *testing.T) {
	ca := authority(t, nil, "ca")
	dir := t.TempDir()
	ids := []*pair{leaf(t, ca, "a.test"), rsaLeaf(t, ca, "a.test")}
	files := ids[0].files(t, dir, "a")
	write(t, filepath.Join(dir, "ca"), encode(ca.cert))
	r := newRig(t)
	d := r.down(&conf.DownstreamTLS{SessionTickets: true, CommonTLS: conf.CommonTLS{
		Certificates: []*conf.TLSCertificate{files},
		Validation:   &conf.CertificateValidation{TrustedCA: conf.DataSource{File: filepath.Join(dir, "ca")}},
	}})
	u := r.up(&conf.UpstreamTLS{SNI: "a.test", MaxSessionKeys: 4, CommonTLS: conf.CommonTLS{
		Parameters: conf.TLSParameters{Maximum: conf.TLS13},
		Validation: &conf.CertificateValidation{TrustedCA: conf.DataSource{File: filepath.Join(dir, "ca")}},
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var serving, clients sync.WaitGroup
	serving.Go(func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer raw.Close()
				_, _ = io.Copy(io.Discard, tls.Server(raw, d.Config()))
			})
		}
	})
	var stop atomic.Bool
	var made atomic.Int64
	for range 4 {
		clients.Go(func() {
			for !stop.Load() {
				conn, err := tls.Dial("tcp", ln.Addr().String(), u.ConfigFor(&Want{}))
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
				made.Add(1)
				r.Certificates()
			}
		})
	}
	for i := range 6 {
		id := ids[(i+1)%2]
		write(t, files.Chain.File, id.chain())
		write(t, files.Key.File, id.keyPEM())
		if i%2 == 0 {
			write(t, filepath.Join(dir, "ca"), append(encode(ca.cert), encode(ca.cert)...))
		}
		before := made.Load()
		eventually(t, "the change is in force", func() bool { return r.Certificates()[0].CertChain[0].SerialNumber == serialText(id.cert.SerialNumber) })
		eventually(t, "handshakes go on", func() bool { return made.Load() > before+4 })
	}
	stop.Store(true)
	clients.Wait()
	ln.Close()
	serving.Wait()
	if made.Load() == 0 {
		t.Error("no handshake")
	}
}

func TestDaysUntilExpiry(t *testing.T) {
	ca := authority(t, nil, "ca") // 90 days
	r := newRig(t)
	if got := r.DaysUntilFirstExpiry(); got != 1<<32-1 {
		t.Errorf("%d without a certificate", got)
	}
	d := r.down(&conf.DownstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{leaf(t, ca, "a.test").inline()}}})
	if got := r.DaysUntilFirstExpiry(); got != 89 {
		t.Errorf("%d, want 89", got)
	}
	r.pass(100 * 24 * time.Hour)
	if got := r.DaysUntilFirstExpiry(); got != 0 {
		t.Errorf("%d after the end", got)
	}
	d.Release()
	if got := len(r.Certificates()); got != 0 {
		t.Errorf("%d contexts are listed", got)
	}
}

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// postgresProgram finds a program that Debian keeps off the path, of the newest version.
func postgresProgram(t *testing.T, name string) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return slices.Max(found)
	}
	return harness.Tool(t, name)
}

// startPostgres returns a server with an empty database "postgres" whose owner needs no password.
func startPostgres(t *testing.T) *harness.Daemon {
	t.Helper()
	initdb, postgres := postgresProgram(t, "initdb"), postgresProgram(t, "postgres")
	dir := harness.PeerDir(t, "postgres")
	data := filepath.Join(dir, "data")
	cmd := harness.AsUser(t, "postgres", exec.Command(initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale", "C", "-E", "UTF8"))
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return harness.StartDaemon(t, func(port string) *exec.Cmd {
		cmd := harness.AsUser(t, "postgres", exec.Command(postgres, "-D", data, "-h", "127.0.0.1", "-p", port, "-k", dir, "-F"))
		cmd.Dir = dir
		return cmd
	})
}

// A PostgreSQL client at work: definitions, bulk both ways, a query that is cancelled by way of another
// connection, and notifications that come unasked.
func TestPeerPostgres(t *testing.T) {
	psql := harness.Tool(t, "psql")
	harness.NoLeaks(t)
	server := startPostgres(t)
	p := harness.StartTCP(t, harness.TCPTopology{Loops: 2, Clusters: to(server)})
	_, port, _ := net.SplitHostPort(p.Addr)
	args := func(more ...string) []string {
		return append([]string{"-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-d", "postgres"}, more...)
	}
	query := func(sql string) string {
		t.Helper()
		return harness.RunWith(t, strings.NewReader(sql), psql, args()...)
	}
	harness.Eventually(t, "the server to have started", func() bool { return exec.Command(psql, args("-c", "select 1")...).Run() == nil })

	t.Run("definitions", func(t *testing.T) {
		const sql = `
create table t (id integer primary key, text varchar not null);
create index on t (text);
begin; insert into t values (1, 'one'), (2, 'two'); rollback;
insert into t select n, repeat('x', n) from generate_series(1, 100) n;
update t set text = 'even' where id % 2 = 0;
select count(*), sum(length(text)) from t;
drop table t;
`
		if got := query(sql); got != "100|2700\n" {
			t.Errorf("got %q", got)
		}
	})

	t.Run("COPY of 20 MB in and out", func(t *testing.T) {
		var rows strings.Builder
		for i := 0; rows.Len() < 20<<20; i++ {
			fmt.Fprintf(&rows, "%d\t%08x%s\n", i, uint32(i)*2654435761, strings.Repeat("-", i%150))
		}
		out := filepath.Join(t.TempDir(), "rows")
		query("create unlogged table bulk (id integer, text varchar)")
		harness.RunWith(t, strings.NewReader(rows.String()), psql, args("-c", "copy bulk from stdin")...)
		harness.Run(t, psql, args("-o", out, "-c", "copy (select * from bulk order by id) to stdout")...)
		got, err := os.ReadFile(out)
		if err != nil || string(got) != rows.String() {
			t.Errorf("%d bytes came back of %d; %v", len(got), rows.Len(), err)
		}
		if p.Stat(inTCP+"downstream_cx_rx_bytes_total") < int64(rows.Len()) || p.Stat(inTCP+"downstream_cx_tx_bytes_total") < int64(rows.Len()) {
			t.Error("the rows passed the proxy by")
		}
	})

	t.Run("a query that is cancelled", func(t *testing.T) {
		long := harness.StartSession(t, psql, args("-c", "select pg_sleep(50)")...)
		harness.Eventually(t, "the query to run", func() bool {
			return query("select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(50)'") == "1\n"
		})
		before := p.Stat(inTCP + "downstream_cx_total")
		long.Interrupt()
		long.AwaitLine("canceling statement due to user request")
		if _, err := long.End(); err == nil {
			t.Error("psql did not fail")
		}
		if after := p.Stat(inTCP + "downstream_cx_total"); after != before+1 {
			t.Errorf("%d connections for the cancellation", after-before)
		}
	})

	t.Run("LISTEN and NOTIFY", func(t *testing.T) {
		listener := harness.StartSession(t, psql, args()...)
		listener.Send("listen news;\nselect 'listening';\n").AwaitLine("listening")
		for i := range 20 {
			query(fmt.Sprintf("notify news, 'number %d'", i))
			// psql prints what has come with the answer to a query.
			listener.Send("select 'asked';\n").AwaitLine("asked")
			listener.AwaitLine(fmt.Sprintf(`"number %d"`, i))
		}
		if rest, err := listener.End(); err != nil {
			t.Errorf("%v after %q", err, rest)
		}
	})
}

package api

import (
	"strings"
	"testing"
	"time"

	"chorad.tests/api/harness"
)

// TestBenchmark runs small loads of etcd's benchmark tool; what counts is
// that they finish without an error.
func TestBenchmark(t *testing.T) {
	tool := harness.Tool(t, "benchmark")
	server := harness.Start(t, harness.Options{})
	many := "--conns=8 --clients=32 "
	for _, load := range []string{
		many + "put --total=1000 --val-size=256 --key-space-size=1000 " +
			"--sequential-keys",
		many + "put --total=300 --rate=500 --val-size=16",
		many + "range a --total=1000 --consistency=l",
		many + "range a --total=1000 --consistency=s",
		many + "txn-put --total=300 --txn-ops=4 --key-space-size=100",
		many + "txn-mixed x --total=500 --rw-ratio=2.33 --key-space-size=50",
		"watch --streams=10 --watch-per-stream=20 --put-total=200 " +
			"--watched-key-total=5 --key-space-size=5",
		"watch-latency --put-total=50 --streams=4 --watchers-per-stream=5",
		many + "lease-keepalive --total=500",
		many + "stm --total=300 --keys=20 --keys-per-txn=2",
		many + "stm --total=100 --keys=5 --isolation=ss",
		many + "stm --total=100 --keys=5 --stm-locker=lock-client",
	} {
		args := append([]string{"--endpoints=" + server.Endpoint},
			strings.Fields(load)...)
		r := harness.Command(t, 60*time.Second, "", nil, tool, args...)
		out := r.Stdout + r.Stderr
		if r.Code != 0 || strings.Contains(out, "Error distribution") ||
			strings.Contains(out, "rror:") {
			t.Errorf("benchmark %s: exit code %d\n%s", load, r.Code, out)
		}
		t.Logf("%6.2fs %s", r.Took.Seconds(), load)
	}
}

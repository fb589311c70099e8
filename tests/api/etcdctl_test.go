package api

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"chorad.tests/api/harness"
)

// ctl runs the real etcdctl against one server.
type ctl struct {
	t      *testing.T
	server *harness.Server
	binary string
}

func newCtl(t *testing.T, args ...string) *ctl {
	t.Helper()
	binary := harness.Tool(t, "etcdctl")
	return &ctl{t, harness.Start(t, harness.Options{Args: args}), binary}
}

func (c *ctl) run(args ...string) harness.Result {
	c.t.Helper()
	return c.input("", args...)
}

func (c *ctl) input(stdin string, args ...string) harness.Result {
	c.t.Helper()
	return harness.Command(c.t, 60*time.Second, stdin, nil, c.binary,
		c.full(args)...)
}

func (c *ctl) full(args []string) []string {
	return append([]string{"--endpoints", c.server.Endpoint}, args...)
}

// want runs a command that must succeed and print the pattern.
func (c *ctl) want(pattern string, args ...string) string {
	c.t.Helper()
	return c.wantInput(pattern, "", args...)
}

func (c *ctl) wantInput(pattern, stdin string, args ...string) string {
	c.t.Helper()
	r := c.input(stdin, args...)
	if r.Code != 0 || !harness.Matches(pattern, r.Stdout) {
		c.t.Errorf("etcdctl %s: exit code %d\n%s%swanted\n%s",
			strings.Join(args, " "), r.Code, r.Stdout, r.Stderr, pattern)
	}
	return r.Stdout
}

// wantError runs a command that must fail with the text.
func (c *ctl) wantError(text string, args ...string) {
	c.t.Helper()
	r := c.run(args...)
	if r.Code == 0 || !strings.Contains(r.Stderr+r.Stdout, text) {
		c.t.Errorf("etcdctl %s: exit code %d\n%s%swanted an error with %q",
			strings.Join(args, " "), r.Code, r.Stdout, r.Stderr, text)
	}
}

func (c *ctl) background(args ...string) *harness.Background {
	c.t.Helper()
	return harness.RunInBackground(c.t, c.binary, c.full(args)...)
}

func lines(all ...string) string { return strings.Join(all, "\n") + "\n" }

// TestEtcdctl runs every command that a single member serves.
func TestEtcdctl(t *testing.T) {
	t.Run("keys", testCtlKeys)
	t.Run("formats", testCtlFormats)
	t.Run("txn", testCtlTxn)
	t.Run("watch", testCtlWatch)
	t.Run("lease", testCtlLease)
	t.Run("maintenance", testCtlMaintenance)
	t.Run("mirror", testCtlMirror)
	t.Run("quota", testCtlQuota)
	t.Run("perf", testCtlPerf)
}

func testCtlKeys(t *testing.T) {
	c := newCtl(t)
	c.want("OK\n", "put", "a", "1")
	c.want(lines("OK", "a", "1"), "put", "a", "2", "--prev-kv")
	c.wantInput("OK\n", "from standard input", "put", "stdin")
	c.want("from standard input\n", "get", "stdin", "--print-value-only")
	for _, kv := range []string{"b/1 x", "b/2 z", "b/3 y"} {
		key, value, _ := strings.Cut(kv, " ")
		c.want("OK\n", "put", key, value)
	}
	c.want(lines("b/1", "x", "b/2", "z", "b/3", "y"), "get", "b/", "--prefix")
	c.want(lines("b/1", "x", "b/2", "z"), "get", "b/1", "b/3")
	c.want(lines("b/1", "", "b/2", "", "b/3", ""), "get", "b/", "--prefix",
		"--keys-only")
	c.want(lines("a", "1"), "get", "a", "--rev", "2")
	c.want("", "get", "b/1", "--rev", "2")
	c.want(lines("b/2", "z"), "get", "b/2", "--from-key", "--limit", "1")
	c.want(lines("b/1", "x", "b/3", "y", "b/2", "z"), "get", "b/", "--prefix",
		"--sort-by", "VALUE")
	c.want(lines("b/3", "y", "b/2", "z", "b/1", "x"), "get", "b/", "--prefix",
		"--sort-by", "MODIFY", "--order", "DESCEND")
	c.want(lines("b/1", "x", "b/2", "z"), "get", "b/", "--prefix",
		"--sort-by", "CREATE", "--order", "ASCEND", "--limit", "2")
	c.want(lines("b/3", "y", "b/2", "z", "b/1", "x"), "get", "b/", "--prefix",
		"--sort-by", "KEY", "--order", "DESCEND")
	c.want(lines("a", "2"), "get", "", "--prefix", "--sort-by", "VERSION",
		"--order", "DESCEND", "--limit", "1")
	c.want(lines("b/3", "y"), "get", "", "--prefix", "--min-mod-rev", "7")
	c.want(lines("a", "2"), "get", "", "--prefix", "--max-create-rev", "2")
	c.want(lines("b/1", "x", "b/2", "z", "b/3", "y"), "get", "b/", "--prefix",
		"--stream")
	c.want(lines("a", "2"), "get", "a", "--consistency", "s")
	c.want(lines(`\x61`, `\x32`), "get", "a", "--hex")
	c.want("{*}\n{*}\n{*}\n{*}\n{*}\n\"Count\" : 3\n", "get", "b/", "--prefix",
		"--count-only", "-w", "fields")
	c.wantError("etcdserver: mvcc: required revision is a future revision",
		"get", "a", "--rev", "100")
	c.wantError("etcdserver: key not found", "put", "none", "--ignore-value")
	c.wantError("etcdserver: requested lease not found", "put", "a", "b",
		"--lease=1")
	c.want("0\n", "del", "nothing")
	c.want(lines("1", "b/1", "x"), "del", "b/1", "--prev-kv")
	c.want("2\n", "del", "b/", "--prefix")
	c.want("2\n", "del", "", "--from-key")
	c.want("", "get", "", "--prefix")
}

func testCtlFormats(t *testing.T) {
	c := newCtl(t)
	c.want("OK\n", "put", "a", "1")
	header := `"header":{"cluster_id":{n},"member_id":{n},"revision":2,` +
		`"raft_term":{n}}`
	c.want(`{`+header+`,"kvs":[{"key":"YQ==","create_revision":2,`+
		`"mod_revision":2,"version":1,"value":"MQ=="}],"count":1}`+"\n",
		"get", "a", "-w", "json")
	c.want(`{`+header+"}\n", "get", "none", "-w", "json")
	c.want(lines(`"ClusterID" : {n}`, `"MemberID" : {n}`, `"Revision" : 2`,
		`"RaftTerm" : {n}`, `"Key" : "a"`, `"CreateRevision" : 2`,
		`"ModRevision" : 2`, `"Version" : 1`, `"Value" : "1"`, `"Lease" : 0`,
		`"More" : false`, `"Count" : 1`), "get", "a", "-w", "fields")
	c.wantError("table not supported as output format", "get", "a", "-w",
		"table")
	c.want(`{"header":{"cluster_id":{n},"member_id":{n},"revision":3,`+
		`"raft_term":{n}}}`+"\n", "put", "a", "2", "-w", "json")
	c.want(`{"header":{"cluster_id":{n},"member_id":{n},"revision":4,`+
		`"raft_term":{n}},"deleted":1}`+"\n", "del", "a", "-w", "json")
}

func testCtlTxn(t *testing.T) {
	c := newCtl(t)
	c.want("OK\n", "put", "a", "2")
	txn := `value("a") = "2"` + "\n\nput t yes\nget a\n\nput t no\n\n"
	c.wantInput(lines("SUCCESS", "", "OK", "", "a", "2"), txn, "txn")
	c.want(lines("t", "yes"), "get", "t")
	c.want("OK\n", "put", "a", "3")
	c.wantInput(lines("FAILURE", "", "OK"), txn, "txn")
	c.want(lines("t", "no"), "get", "t")
	for _, condition := range []string{`create("new") = "0"`,
		`mod("a") > "3"`, `version("a") = "2"`, `value("a") != "x"`} {
		c.wantInput(lines("SUCCESS", "", "1"), condition+
			"\n\ndel t\n\nput t never\n\n", "txn")
		c.want("OK\n", "put", "t", "again")
	}
}

func testCtlWatch(t *testing.T) {
	c := newCtl(t)
	c.want("OK\n", "put", "w/1", "a")
	c.want("OK\n", "put", "w/2", "b")
	c.want("1\n", "del", "w/1")
	past := c.background("watch", "w/", "--prefix", "--rev", "2", "--prev-kv")
	single := c.background("watch", "w/2")
	started := c.background("watch", "--prefix", "w/", "-w", "json",
		"--rev", "5")
	if !past.WaitOutput("DELETE", 10*time.Second) {
		t.Fatalf("no event from the past: %q", past.Output())
	}
	time.Sleep(500 * time.Millisecond)
	c.want("OK\n", "put", "w/2", "c")
	c.want("OK\n", "put", "other", "x")
	c.want("1\n", "del", "w/2")
	expect := func(name, want string, b *harness.Background) {
		t.Helper()
		if !harness.Eventually(10*time.Second, func() bool {
			return b.Output() == want
		}) {
			t.Errorf("%s printed\n%s\nwanted\n%s", name, b.Output(), want)
		}
	}
	expect("the watch from the past", lines("PUT", "w/1", "a", "PUT", "w/2",
		"b", "DELETE", "w/1", "a", "w/1", "", "PUT", "w/2", "b", "w/2", "c",
		"DELETE", "w/2", "c", "w/2", ""), past)
	expect("the watch of one key", lines("PUT", "w/2", "c", "DELETE", "w/2",
		""), single)
	if !started.WaitOutput(`"type":1`, 10*time.Second) ||
		!strings.Contains(started.Output(), `"mod_revision":5`) {
		t.Errorf("the watch in JSON printed %s", started.Output())
	}
	c.want("compacted revision 6\n", "compact", "6")
	c.wantError("required revision has been compacted", "watch", "w/2",
		"--rev", "2")
}

func testCtlLease(t *testing.T) {
	c := newCtl(t)
	grant := func(ttl string) string {
		out := c.want("lease {x} granted with TTL({n}s)\n", "lease", "grant",
			ttl)
		return strings.Fields(out + " x x")[1]
	}
	id := grant("100")
	c.want(lines("found 1 leases", id), "lease", "list")
	c.want("OK\n", "put", "l/1", "v", "--lease="+id)
	c.want("OK\n", "put", "l/2", "v", "--lease="+id)
	out := c.want("lease "+id+" granted with TTL(100s), remaining({n}s), "+
		"attached keys([{*}])\n", "lease", "timetolive", id, "--keys")
	if !strings.Contains(out, "l/1") || !strings.Contains(out, "l/2") {
		t.Errorf("the keys of the lease are missing: %s", out)
	}
	c.want("lease "+id+" granted with TTL(100s), remaining({n}s)\n", "lease",
		"timetolive", id)
	c.want(`{"cluster_id":{n},"member_id":{n},"revision":3,"raft_term":{n},`+
		`"id":{n},"ttl":{n},"granted-ttl":100,"keys":{*}}`+"\n", "lease",
		"timetolive", id, "--keys", "-w", "json")
	c.want("lease "+id+" keepalived with TTL(100)\n", "lease", "keep-alive",
		"--once", id)
	c.want("lease "+id+" revoked\n", "lease", "revoke", id)
	c.want("", "get", "l/", "--prefix")
	c.want("lease "+id+" already expired\n", "lease", "timetolive", id)
	c.want("lease "+id+" expired or revoked.\n", "lease", "keep-alive", id)
	c.wantError("etcdserver: requested lease not found", "lease", "revoke", id)
	c.want("found 0 leases\n", "lease", "list")

	short := grant("2")
	kept := grant("2")
	c.want("OK\n", "put", "short", "v", "--lease="+short)
	c.want("OK\n", "put", "kept", "v", "--lease="+kept)
	alive := c.background("lease", "keep-alive", kept)
	if !harness.Eventually(8*time.Second, func() bool {
		return c.run("get", "short").Stdout == ""
	}) {
		t.Error("the key of a lease of 2 s is still there after 8 s")
	}
	c.want(lines("kept", "v"), "get", "kept")
	if n := strings.Count(alive.Output(), "keepalived with TTL(2)"); n < 2 {
		t.Errorf("%d keep-alives: %s", n, alive.Output())
	}
}

func testCtlMaintenance(t *testing.T) {
	c := newCtl(t)
	for i := range 4 {
		c.want("OK\n", "put", "a", fmt.Sprint(i))
	}
	c.want("compacted revision 3\n", "compact", "3")
	c.want("compacted revision 4\n", "compact", "4", "--physical")
	c.wantError("etcdserver: mvcc: required revision has been compacted",
		"compact", "4")
	c.wantError("etcdserver: mvcc: required revision is a future revision",
		"compact", "99")
	c.wantError("etcdserver: mvcc: required revision has been compacted",
		"get", "a", "--rev", "2")
	c.want("Finished defragmenting etcd member[{e}]. took {t}\n", "defrag")
	c.want("{e}, {x}, {v}, 3.7.0, {s}, {s}, {n}%, 2.1 GB, true, false, {n}, "+
		"{n}, {n}, , , false\n", "endpoint", "status")
	c.want(`[{"Endpoint":"{e}","Status":{"header":{"cluster_id":{n},`+
		`"member_id":{n},"revision":5,"raft_term":{n}},"version":"{v}",`+
		`"dbSize":{n},"leader":{n},"raftIndex":{n},"raftTerm":{n},`+
		`"raftAppliedIndex":{n},"dbSizeInUse":{n},"storageVersion":"3.7.0",`+
		`"dbSizeQuota":2147483648,"downgradeInfo":{}}}]`+"\n", "endpoint",
		"status", "-w", "json")
	table := c.want("{*}\n{*}\n{*}\n{*}\n{*}\n", "endpoint", "status",
		"--cluster", "-w", "table")
	if !strings.Contains(table, "3.7.") || !strings.Contains(table, "true") {
		t.Errorf("the table of the status is\n%s", table)
	}
	c.want("{e} is healthy: successfully committed proposal: took = {t}\n",
		"endpoint", "health")
	c.want("{u} is healthy: successfully committed proposal: took = {t}\n",
		"endpoint", "health", "--cluster")
	c.want(`[{"endpoint":"{e}","health":true,"took":"{t}"}]`+"\n", "endpoint",
		"health", "-w", "json")
	c.want("{e}, {n}, 5\n", "endpoint", "hashkv")
	c.want(`[{"Endpoint":"{e}","HashKV":{"header":{"cluster_id":{n},`+
		`"member_id":{n},"revision":5,"raft_term":{n}},"hash":{n},`+
		`"compact_revision":4,"hash_revision":5}}]`+"\n", "endpoint", "hashkv",
		"-w", "json")
	c.want("{*}\n{*}\n{*}\n{*}\n{*}\n", "endpoint", "hashkv", "-w", "table")
	c.want("{x}, started, default, {u}, {u}, false\n", "member", "list")
	table = c.want("{*}\n{*}\n{*}\n{*}\n{*}\n", "member", "list", "-w", "table")
	if !strings.Contains(table, "started") {
		t.Errorf("the table of the members is\n%s", table)
	}
	c.want(`{"header":{"cluster_id":{n},"member_id":{n},"raft_term":{n}},`+
		`"members":[{"ID":{n},"name":"default","peerURLs":["{u}"],`+
		`"clientURLs":["{u}"]}]}`+"\n", "member", "list", "-w", "json")
	c.want("", "alarm", "list")
	c.want("", "alarm", "disarm")
}

func testCtlMirror(t *testing.T) {
	c := newCtl(t)
	other := harness.Start(t, harness.Options{})
	target := &ctl{t, other, c.binary}
	for i := range 5 {
		c.want("OK\n", "put", fmt.Sprintf("m/%d", i), fmt.Sprint(i))
	}
	c.want("OK\n", "put", "not/mirrored", "x")
	mirror := c.background("make-mirror", "--prefix", "m/", "--dest-prefix",
		"copy/", other.Endpoint)
	copied := func(want string) bool {
		return harness.Eventually(10*time.Second, func() bool {
			return target.run("get", "", "--prefix").Stdout == want
		})
	}
	first := lines("copy/0", "0", "copy/1", "1", "copy/2", "2", "copy/3", "3",
		"copy/4", "4")
	if !copied(first) {
		t.Fatalf("the mirror has\n%s%s", target.run("get", "", "--prefix").Stdout,
			mirror.Output())
	}
	c.want("OK\n", "put", "m/1", "new")
	c.want("2\n", "del", "m/3", "m/5")
	if !copied(lines("copy/0", "0", "copy/1", "new", "copy/2", "2")) {
		t.Errorf("the mirror followed to\n%s%s",
			target.run("get", "", "--prefix").Stdout, mirror.Output())
	}
}

// testCtlPerf takes a minute: there is no smaller load than "s".
func testCtlPerf(t *testing.T) {
	if os.Getenv("CHORAD_SANITIZED") != "" {
		t.Skip("a load says nothing about a sanitized server")
	}
	c := newCtl(t)
	r := harness.Command(t, 3*time.Minute, "", nil, c.binary, c.full([]string{
		"check", "perf", "--auto-compact", "--auto-defrag"})...)
	if r.Code != 0 || !strings.Contains(r.Stdout+r.Stderr, "PASS") {
		t.Errorf("check perf: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.want("", "get", "/etcdctl-check-perf/", "--prefix")
}

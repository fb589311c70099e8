package api

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"

	"chorad.tests/api/harness"
)

const (
	smallQuota = 53248
	// The text form of a message varies its spaces.
	alarmLine = "memberID:{n}{_}alarm:NOSPACE{_}"
)

// testCtlQuota fills a very small store and frees it again, with etcdctl as
// an operator would.
func testCtlQuota(t *testing.T) {
	c := newCtl(t, "--quota-backend-bytes", strconv.Itoa(smallQuota))
	empty := c.dbSize()
	if c.server.IsChorad() && empty >= 40_000 {
		t.Errorf("an empty store has %d bytes", empty)
	}
	const full = "etcdserver: mvcc: database space exceeded"
	value := strings.Repeat("v", 4096)
	puts := 0
	for ; puts < 21; puts++ {
		r := c.input(value, "put", "key")
		if r.Code == 0 {
			continue
		}
		if !strings.Contains(r.Stderr, full) {
			t.Fatalf("put %d: %s", puts, r.Stderr)
		}
		break
	}
	if puts == 21 || (puts == 0 && c.server.IsChorad()) {
		t.Fatalf("full after %d puts; the size is %d", puts, c.dbSize())
	}
	t.Logf("%d bytes when empty, %d when full after %d puts", empty, c.dbSize(),
		puts)
	c.want(alarmLine, "alarm", "list")
	c.wantError(full, "put", "small", "x")
	c.wantError(full, "lease", "grant", "60")
	c.wantError("Active Alarm(s): NOSPACE", "endpoint", "health")
	status := c.run("endpoint", "status").Stdout
	if !strings.Contains(status, "alarm:NOSPACE") {
		t.Errorf("the status names no alarm: %s", status)
	}
	c.restartFull(full)

	revision := c.revision()
	c.want("compacted revision {n}\n", "compact", "--physical",
		strconv.FormatInt(revision, 10))
	before := c.dbSize()
	c.want("Finished defragmenting{*}\n", "defrag")
	if after := c.dbSize(); after >= before || after > smallQuota-4096 {
		t.Errorf("defrag: from %d to %d bytes", before, after)
	}
	c.want(alarmLine, "alarm", "disarm")
	c.want("", "alarm", "list")
	c.want("OK\n", "put", "small", "x")
	c.wantInput("OK\n", value, "put", "key")
	c.want("{e} is healthy: {*}\n", "endpoint", "health")
}

// restartFull sees that the alarm outlives a restart.
func (c *ctl) restartFull(text string) {
	c.t.Helper()
	c.server.Kill()
	c.server.Restart(c.t)
	c.want(alarmLine, "alarm", "list")
	c.wantError(text, "put", "small", "x")
}

type endpointStatus []struct {
	Status struct {
		Header struct {
			Revision int64 `json:"revision"`
		} `json:"header"`
		DBSize int64 `json:"dbSize"`
	} `json:"Status"`
}

func (c *ctl) status() endpointStatus {
	c.t.Helper()
	var status endpointStatus
	out := c.run("endpoint", "status", "-w", "json")
	if err := json.Unmarshal([]byte(out.Stdout), &status); err != nil ||
		len(status) != 1 {
		c.t.Fatalf("endpoint status: %v %s%s", err, out.Stdout, out.Stderr)
	}
	return status
}

// dbSize is the size once the writes of before have reached the store.
func (c *ctl) dbSize() int64 {
	c.t.Helper()
	time.Sleep(250 * time.Millisecond)
	return c.status()[0].Status.DBSize
}

func (c *ctl) revision() int64 {
	c.t.Helper()
	return c.status()[0].Status.Header.Revision
}

// TestQuotaAlarm finds the alarm up whenever a client was told that there is
// no room, and counted once, however many clients were told.
func TestQuotaAlarm(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{
		"--quota-backend-bytes", strconv.Itoa(smallQuota)}})
	client := httpClient(t, s)
	value := strings.Repeat("v", 4096)
	put := func() error {
		_, err := client.Put(timeout(t), "key", value)
		return err
	}
	for put() == nil {
	}
	lock := func() error {
		_, err := v3lockpb.NewLockClient(client.ActiveConnection()).Lock(
			timeout(t), &v3lockpb.LockRequest{Name: []byte("l")})
		return err
	}
	grant := func() error {
		_, err := client.Grant(timeout(t), 60)
		return err
	}
	for round, refused := range []func() error{put, lock, grant, put, lock,
		grant, put, put, put} {
		if _, err := client.AlarmDisarm(timeout(t),
			&clientv3.AlarmMember{}); err != nil {
			t.Fatal(err)
		}
		var clients sync.WaitGroup
		for range 5 {
			clients.Go(func() {
				err := refused()
				health := fetch(t, "GET", s.ClientURL+"/health").Body
				if err == nil || !strings.Contains(err.Error(),
					"database space exceeded") {
					t.Errorf("round %d: %v", round, err)
				} else if !strings.Contains(health, "ALARM NOSPACE") {
					t.Errorf("round %d: refused, but %s", round, health)
				}
			})
		}
		clients.Wait()
	}
	page := fetch(t, "GET", s.ClientURL+"/metrics").Body
	if !regexp.MustCompile(`etcd_debugging_server_alarms{[^}]*} 1\n`).
		MatchString(page) {
		t.Error("the alarm isn't counted once")
	}
}

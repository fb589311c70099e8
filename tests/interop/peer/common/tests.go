package common

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Etcd is one member's transport, of etcd's own code.
type Etcd interface {
	URL() string
	AddPeer(id uint64, url string)
	RemovePeer(id uint64)
	Send(m Message)
	// SendSnapshot sends one of that index and term, with an image of len bytes;
	// true when the other side has taken it.
	SendSnapshot(to, index, term uint64, image []byte) bool
	Received() <-chan Message
	Unreachable() <-chan uint64
	// Removed says that the other side has called this one removed.
	Removed() <-chan error
	SetRemoved(id uint64)
	Active(id uint64) bool
	SnapDir() string
	Stop()
}

// Config is what a transport is started with.
type Config struct {
	ID, Cluster uint64
	Port        string
}

// Start starts a transport of etcd's.
type Start func(t *testing.T, c Config) Etcd

const (
	cluster  = 0xc1
	etcdID   = 1
	choradID = 2
)

func next(t *testing.T, e Etcd) Message {
	t.Helper()
	select {
	case m := <-e.Received():
		return m
	case <-time.After(patience):
		t.Fatal("etcd received nothing")
		return Message{}
	}
}

// couple starts both and waits until each sees the other.
func couple(t *testing.T, start Start) (Etcd, *chorad) {
	t.Helper()
	e := start(t, Config{ID: etcdID, Cluster: cluster, Port: "0"})
	t.Cleanup(e.Stop)
	c := startChorad(t, choradID, cluster, "0")
	e.AddPeer(choradID, c.url)
	c.say("add %x %s", etcdID, e.URL())
	ready(t, e, c)
	return e, c
}

// ready waits for streams both ways: the message that comes through tells.
func ready(t *testing.T, e Etcd, c *chorad) {
	t.Helper()
	c.until(fmt.Sprintf("active %x", etcdID), fmt.Sprintf("active %x 1", etcdID))
	for range int(patience / (20 * time.Millisecond)) {
		if e.Active(choradID) {
			// The other stream's turn.
			time.Sleep(300 * time.Millisecond)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("etcd never saw chorad active")
}

// Run is the whole of it.
func Run(t *testing.T, start Start) {
	for name, test := range map[string]func(*testing.T, Start){
		"Messages": testMessages, "Appends": testAppends, "Large": testLarge,
		"Snapshots": testSnapshots, "Idle": testIdle, "Restarts": testRestarts,
		"Removed": testRemoved, "OtherCluster": testOtherCluster, "Strangers": testStrangers,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start)
		})
	}
}

// Every type, every field, both ways.
func testMessages(t *testing.T, start Start) {
	e, c := couple(t, start)
	rnd := rand.New(rand.NewSource(1))
	for round := range 200 {
		typ := wireTypes[round%len(wireTypes)]
		m := randomMessage(rnd, typ, choradID, etcdID)
		c.say("send %s", m)
		if got := next(t, e).String(); got != m.String() {
			t.Fatalf("etcd got\n%.400s\ninstead of\n%.400s", got, m)
		}
		m = randomMessage(rnd, typ, etcdID, choradID)
		e.Send(m)
		if got := c.expect("got "); got != "got "+m.String() {
			t.Fatalf("chorad %.400s\ninstead of\n%.400s", got, m)
		}
	}
}

// Streams of appends, many at a time.
func testAppends(t *testing.T, start Start) {
	e, c := couple(t, start)
	rnd := rand.New(rand.NewSource(2))
	for _, m := range appends(rnd, choradID, etcdID, 1000) {
		c.say("send %s", m)
	}
	for _, m := range appends(rand.New(rand.NewSource(2)), choradID, etcdID, 1000) {
		if got := next(t, e).String(); got != m.String() {
			t.Fatalf("etcd got\n%.400s\ninstead of\n%.400s", got, m)
		}
	}
	all := appends(rnd, etcdID, choradID, 1000)
	for _, m := range all {
		e.Send(m)
	}
	for _, m := range all {
		if got := c.expect("got "); got != "got "+m.String() {
			t.Fatalf("chorad %.400s\ninstead of\n%.400s", got, m)
		}
	}
}

func testLarge(t *testing.T, start Start) {
	e, c := couple(t, start)
	rnd := rand.New(rand.NewSource(3))
	for index := range uint64(5) {
		m := Message{Type: MsgApp, To: etcdID, From: choradID, Term: 5, LogTerm: 5, Index: index,
			Entries: []Entry{{Term: 5, Index: index + 1, Data: randomBytes(rnd, 3<<20)}}}
		c.say("send %s", m)
		if got := next(t, e); got.String() != m.String() {
			t.Fatalf("etcd got another message %d", index)
		}
		m.To, m.From = choradID, etcdID
		e.Send(m)
		if got := c.expect("got "); got != "got "+m.String() {
			t.Fatalf("chorad got another message %d", index)
		}
	}
}

// The image that peer_chorad makes.
func image(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i / 4096)
	}
	return b
}

func testSnapshots(t *testing.T, start Start) {
	e, c := couple(t, start)
	for i, n := range []int{0, 1, 4096, 20 << 20} {
		index := uint64(100 + i)
		c.say("snapshot %x %x %x %x", etcdID, index, 5, n)
		m := next(t, e)
		if m.Type != MsgSnap || m.From != choradID || m.Term != 5 {
			t.Fatalf("etcd got %s", m)
		}
		c.expect(fmt.Sprintf("sent %x ok", etcdID))
		got, err := os.ReadFile(filepath.Join(e.SnapDir(), fmt.Sprintf("%016x.snap.db", index)))
		if err != nil || !bytes.Equal(got, image(n)) {
			t.Fatalf("etcd has another image of %d bytes: %v", n, err)
		}

		if !e.SendSnapshot(choradID, index, 5, image(n)) {
			t.Fatalf("etcd could not send an image of %d bytes", n)
		}
		words := strings.Fields(c.expect("got-snapshot "))
		if words[len(words)-3] != fmt.Sprintf("%x/5/membership", index) {
			t.Fatalf("chorad got %q", words)
		}
		got, err = os.ReadFile(words[len(words)-2])
		if err != nil || !bytes.Equal(got, image(n)) {
			t.Fatalf("chorad has another image of %d bytes: %v", n, err)
		}
	}
}

// Streams on which nothing is said stay up, both ways.
func testIdle(t *testing.T, start Start) {
	e, c := couple(t, start)
	time.Sleep(7 * time.Second)
	if !e.Active(choradID) {
		t.Error("etcd lost chorad")
	}
	c.until(fmt.Sprintf("active %x", etcdID), fmt.Sprintf("active %x 1", etcdID))
	select {
	case id := <-e.Unreachable():
		t.Errorf("etcd could not reach %x", id)
	default:
	}
	if line, ok := c.take("unreachable"); ok {
		t.Error(line)
	}
}

func testRestarts(t *testing.T, start Start) {
	e, c := couple(t, start)
	m := Message{Type: MsgHeartbeatResp, To: etcdID, From: choradID, Term: 5}
	back := Message{Type: MsgHeartbeatResp, To: choradID, From: etcdID, Term: 5}
	for range 3 {
		_, port, _ := strings.Cut(strings.TrimPrefix(c.url, "http://"), ":")
		c.kill()
		for e.Active(choradID) {
			time.Sleep(20 * time.Millisecond)
		}
		c = startChorad(t, choradID, cluster, port)
		c.say("add %x %s", etcdID, e.URL())
		ready(t, e, c)
		c.say("send %s", m)
		if got := next(t, e).String(); got != m.String() {
			t.Fatalf("etcd got %s", got)
		}
		e.Send(back)
		c.expect("got " + back.String())
	}
	for range 3 {
		_, port, _ := strings.Cut(strings.TrimPrefix(e.URL(), "http://"), ":")
		e.Stop()
		c.until(fmt.Sprintf("active %x", etcdID), fmt.Sprintf("active %x 0", etcdID))
		c.say("send %s", m)
		c.expect(fmt.Sprintf("unreachable %x", etcdID))
		e = start(t, Config{ID: etcdID, Cluster: cluster, Port: port})
		t.Cleanup(e.Stop)
		e.AddPeer(choradID, c.url)
		ready(t, e, c)
		c.say("send %s", m)
		for got := next(t, e).String(); got != m.String(); got = next(t, e).String() {
			t.Fatalf("etcd got %s", got)
		}
	}
}

// Whoever is removed is told.
func testRemoved(t *testing.T, start Start) {
	e, c := couple(t, start)
	c.say("remove %x", etcdID)
	c.say("was-removed %x", etcdID)
	select {
	case err := <-e.Removed():
		t.Log("etcd was told: ", err)
	case <-time.After(patience):
		t.Fatal("etcd was never told that it had been removed")
	}
	e.Stop()
	c.stop()

	e, c = couple(t, start)
	e.RemovePeer(choradID)
	e.SetRemoved(choradID)
	c.expect("removed")

	// etcd doesn't know it any more at all.
	e = start(t, Config{ID: etcdID, Cluster: cluster, Port: "0"})
	t.Cleanup(e.Stop)
	e.SetRemoved(choradID)
	c = startChorad(t, choradID, cluster, "0")
	c.say("add %x %s", etcdID, e.URL())
	c.say("send %s", Message{Type: MsgHeartbeatResp, To: etcdID, From: choradID, Term: 5})
	c.expect("removed")
}

func testOtherCluster(t *testing.T, start Start) {
	e := start(t, Config{ID: etcdID, Cluster: cluster + 1, Port: "0"})
	t.Cleanup(e.Stop)
	c := startChorad(t, choradID, cluster, "0")
	e.AddPeer(choradID, c.url)
	c.say("add %x %s", etcdID, e.URL())
	c.say("send %s", Message{Type: MsgHeartbeatResp, To: etcdID, From: choradID, Term: 5})
	c.expect(fmt.Sprintf("unreachable %x", etcdID))
	e.Send(Message{Type: MsgHeartbeatResp, To: choradID, From: etcdID, Term: 5})
	select {
	case <-e.Unreachable():
	case <-time.After(patience):
		t.Fatal("etcd never found chorad unreachable")
	}
	if e.Active(choradID) {
		t.Error("etcd takes chorad of another cluster for active")
	}
	c.until(fmt.Sprintf("active %x", etcdID), fmt.Sprintf("active %x 0", etcdID))
	if line, ok := c.take("got "); ok {
		t.Error(line)
	}
}

// Members that only one side knows of talk by the pipeline: what is sent names
// the sender's URL, so that the other side can answer.
func testStrangers(t *testing.T, start Start) {
	m := Message{Type: MsgAppResp, To: etcdID, From: choradID, Term: 5, Index: 7}
	back := Message{Type: MsgApp, To: choradID, From: etcdID, Term: 5, LogTerm: 5, Index: 7,
		Entries: []Entry{{Term: 5, Index: 8, Data: []byte("data")}}}
	for _, choradKnows := range []bool{true, false} {
		e := start(t, Config{ID: etcdID, Cluster: cluster, Port: "0"})
		t.Cleanup(e.Stop)
		c := startChorad(t, choradID, cluster, "0")
		if choradKnows {
			c.say("add %x %s", etcdID, e.URL())
			c.say("send %s", m)
			if got := next(t, e).String(); got != m.String() {
				t.Fatalf("etcd got %s", got)
			}
			e.Send(back)
			c.expect("got " + back.String())
		} else {
			e.AddPeer(choradID, c.url)
			e.Send(back)
			c.expect("got " + back.String())
			c.say("send %s", m)
			if got := next(t, e).String(); got != m.String() {
				t.Fatalf("etcd got %s", got)
			}
		}
		e.Stop()
		c.stop()
	}
}

// Reencode has peer_chorad read and write messages that etcd has written: what
// comes back must be the same bytes.
func Reencode(t *testing.T, messages [][]byte) [][]byte {
	t.Helper()
	var in bytes.Buffer
	for _, m := range messages {
		fmt.Fprintf(&in, "%x\n", m)
	}
	cmd := exec.Command(os.Getenv("PEER_CHORAD"), "--reencode")
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for reader := bytes.NewReader(out); ; {
		var m []byte
		if _, err := fmt.Fscanf(reader, "%x\n", &m); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	if len(all) != len(messages) {
		t.Fatalf("%d messages became %d", len(messages), len(all))
	}
	return all
}

package common

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second

// chorad is one process of peer_chorad.
type chorad struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	url     string
	snapDir string

	mu    sync.Mutex
	lines []string
	wake  chan struct{}
}

// startChorad starts a member on that port ("0": any).
func startChorad(t *testing.T, id, cluster uint64, port string) *chorad {
	t.Helper()
	c := &chorad{t: t, snapDir: t.TempDir(), wake: make(chan struct{}, 1)}
	c.cmd = exec.Command(os.Getenv("PEER_CHORAD"), fmt.Sprintf("%x", id),
		fmt.Sprintf("%x", cluster), c.snapDir, port)
	c.cmd.Stderr = os.Stderr
	if os.Getenv("PEER_LOGS") == "" {
		c.cmd.Stderr = nil
	}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go c.read(out)
	t.Cleanup(c.stop)
	c.url = strings.Fields(c.expect("listening "))[1]
	return c
}

func (c *chorad) read(out io.Reader) {
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		c.mu.Lock()
		c.lines = append(c.lines, scanner.Text())
		c.mu.Unlock()
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// stop ends it and waits: it must end by itself and well.
func (c *chorad) stop() {
	if c.cmd == nil {
		return
	}
	c.in.Close()
	timer := time.AfterFunc(patience, func() { c.cmd.Process.Kill() })
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("peer_chorad: %v", err)
	}
	timer.Stop()
	c.cmd = nil
}

// kill ends it without a word.
func (c *chorad) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
	c.cmd = nil
}

func (c *chorad) say(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.t.Fatal(err)
	}
}

// take removes and returns the first line with that beginning.
func (c *chorad) take(prefix string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, line := range c.lines {
		if strings.HasPrefix(line, prefix) {
			c.lines = append(c.lines[:i], c.lines[i+1:]...)
			return line, true
		}
	}
	return "", false
}

// expect waits for a line with that beginning.
func (c *chorad) expect(prefix string) string {
	c.t.Helper()
	deadline := time.After(patience)
	for {
		if line, ok := c.take(prefix); ok {
			return line
		}
		select {
		case <-c.wake:
		case <-deadline:
			c.mu.Lock()
			defer c.mu.Unlock()
			c.t.Fatalf("waited in vain for %q; there is %q", prefix, c.lines)
		}
	}
}

// until repeats a command until the answer has that beginning.
func (c *chorad) until(command, prefix string) {
	c.t.Helper()
	word := strings.Fields(prefix)[0]
	for range int(patience / (20 * time.Millisecond)) {
		c.say("%s", command)
		if strings.HasPrefix(c.expect(word+" "), prefix) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatalf("%q never answered %q", command, prefix)
}

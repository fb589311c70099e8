package harness

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Background is a client that runs beside the test, such as a watch.
type Background struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	out  bytes.Buffer
	done chan struct{}
}

// Write collects what the program prints.
func (b *Background) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(data)
}

// RunInBackground starts a program that ends with the test at the latest.
func RunInBackground(t testing.TB, name string, args ...string) *Background {
	t.Helper()
	b := &Background{cmd: exec.Command(name, args...),
		done: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = b, b
	b.cmd.Env = cleanEnv()
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = b.cmd.Wait()
		close(b.done)
	}()
	t.Cleanup(b.Kill)
	return b
}

// Kill ends the program and waits for it.
func (b *Background) Kill() {
	_ = b.cmd.Process.Kill()
	<-b.done
}

// Output is what it has printed so far.
func (b *Background) Output() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

// WaitOutput waits until the output contains the text.
func (b *Background) WaitOutput(text string, limit time.Duration) bool {
	return Eventually(limit, func() bool {
		return strings.Contains(b.Output(), text)
	})
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A server is one process of one of the two programs, with its directory.
type server struct {
	program string // "chorad" or "etcd"
	binary  string
	dir     string
	name    string
	addr    string    // host:port of its client URL
	peer    string    // its peer URL
	others  []*server // of its cluster
	cmd     *exec.Cmd
	exited  chan struct{}
}

// members are all of the cluster, this one first.
func (s *server) members() []*server {
	return append([]*server{s}, s.others...)
}

// Both programs run with their defaults.
func (s *server) flags() []string {
	client := "http://" + s.addr
	var cluster []string
	for _, m := range s.members() {
		cluster = append(cluster, m.name+"="+m.peer)
	}
	return []string{
		"--name", s.name, "--data-dir", filepath.Join(s.dir, "data"),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", s.peer, "--initial-advertise-peer-urls", s.peer,
		"--initial-cluster", strings.Join(cluster, ","),
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// place gives the server its ports.
func (s *server) place() error {
	client, err := freePort()
	if err != nil {
		return err
	}
	peer, err := freePort()
	s.addr = fmt.Sprintf("127.0.0.1:%d", client)
	s.peer = fmt.Sprintf("http://127.0.0.1:%d", peer)
	return err
}

// launch runs the program, and doesn't wait for it.
func (s *server) launch() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"),
		os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.binary, s.flags()...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Env = withoutEtcd(os.Environ())
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	return nil
}

// start runs the program, with the others of its cluster, and waits until a
// linearizable read answers at each; the time that took is returned.
func (s *server) start(ctx context.Context) (time.Duration, error) {
	for _, m := range s.members() {
		if err := m.place(); err != nil {
			return 0, err
		}
	}
	for _, m := range s.others {
		m.others = nil
		for _, other := range s.members() {
			if other != m {
				m.others = append(m.others, other)
			}
		}
	}
	began := time.Now()
	for _, m := range s.members() {
		if err := m.launch(); err != nil {
			s.stop()
			return 0, err
		}
	}
	for _, m := range s.members() {
		if err := m.ready(ctx, began.Add(60*time.Second)); err != nil {
			s.stop()
			return 0, fmt.Errorf("%s doesn't answer: %w\n%s", s.program, err,
				m.logTail())
		}
	}
	return time.Since(began), nil
}

func (s *server) ready(ctx context.Context, deadline time.Time) error {
	var last error
	for time.Now().Before(deadline) && ctx.Err() == nil {
		select {
		case <-s.exited:
			return fmt.Errorf("it has exited")
		default:
		}
		c, err := dial(s.addr)
		if err == nil {
			_, err = c.unary(ctx, pathRange, rangeRequest([]byte("ready"),
				false))
			c.close()
		}
		if err == nil {
			return nil
		}
		last = err
		time.Sleep(2 * time.Millisecond)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return last
}

// stop ends the processes: politely first, so that they can write what they
// hold.
func (s *server) stop() {
	for _, m := range s.members() {
		if m.cmd != nil {
			_ = m.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	for _, m := range s.members() {
		if m.cmd == nil {
			continue
		}
		select {
		case <-m.exited:
		case <-time.After(20 * time.Second):
			m.kill()
		}
		m.cmd = nil
	}
}

// kill ends this one process at once.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

func (s *server) alive() error {
	for _, m := range s.members() {
		select {
		case <-m.exited:
			return fmt.Errorf("%s has exited\n%s", s.program, m.logTail())
		default:
		}
	}
	return nil
}

// endpoints are the addresses of all members, as benchmark takes them.
func (s *server) endpoints() string {
	var all []string
	for _, m := range s.members() {
		all = append(all, m.addr)
	}
	return strings.Join(all, ",")
}

func (s *server) logTail() string {
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(log[max(0, len(log)-1500):])
}

// cpu is the processor time of all members.
func (s *server) cpu() (sum time.Duration, err error) {
	for _, m := range s.members() {
		used, err := m.ownCPU()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// ownCPU is that of all its threads, those that have ended too.
func (s *server) ownCPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name may hold blanks: fields are counted from its end.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("unexpected /proc/PID/stat: %s", stat)
	}
	return time.Duration(user+system) * (time.Second / clockTicks), nil
}

// clockTicks is Linux's USER_HZ, the same on every architecture Go runs on.
const clockTicks = 100

// memory is what it holds beside mapped files, in bytes.
func (s *server) memory() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status",
		s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("no RssAnon in /proc/PID/status")
}

func withoutEtcd(env []string) []string {
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, "ETCD_") {
			out = append(out, v)
		}
	}
	return out
}

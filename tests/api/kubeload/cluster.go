package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A member is one process of a cluster of three.
type member struct {
	client, peer string
	dir          string
	cmd          *exec.Cmd
}

type cluster []*member

func freeURL() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return "http://" + l.Addr().String(), nil
}

func place(dir string, n int) (cluster, error) {
	var c cluster
	for i := range n {
		m := &member{dir: filepath.Join(dir, fmt.Sprintf("m%d", i))}
		var err error
		if m.client, err = freeURL(); err != nil {
			return nil, err
		}
		if m.peer, err = freeURL(); err != nil {
			return nil, err
		}
		if err = os.MkdirAll(m.dir, 0o700); err != nil {
			return nil, err
		}
		c = append(c, m)
	}
	return c, nil
}

func (m *member) launch(binary, initial string) error {
	log, err := os.Create(m.log())
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd = exec.Command(binary, "--name", filepath.Base(m.dir),
		"--data-dir", filepath.Join(m.dir, "data"),
		"--listen-client-urls", m.client, "--advertise-client-urls", m.client,
		"--listen-peer-urls", m.peer, "--initial-advertise-peer-urls", m.peer,
		"--initial-cluster", initial, "--quota-backend-bytes", "8589934592")
	m.cmd.Stdout, m.cmd.Stderr = log, log
	return m.cmd.Start()
}

func (m *member) log() string { return filepath.Join(m.dir, "log") }

func (c cluster) start(binary string) error {
	var all []string
	for _, m := range c {
		all = append(all, filepath.Base(m.dir)+"="+m.peer)
	}
	for _, m := range c {
		if err := m.launch(binary, strings.Join(all, ",")); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the processes: politely first, so that their directories are
// whole.
func (c cluster) stop() {
	for _, m := range c {
		if m.cmd != nil {
			_ = m.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	for _, m := range c {
		if m.cmd == nil {
			continue
		}
		kill := time.AfterFunc(20*time.Second, func() {
			_ = m.cmd.Process.Kill()
		})
		_ = m.cmd.Wait()
		kill.Stop()
	}
}

// dial connects to one member, as an API server does to the one beside it.
func (m *member) dial() (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{m.client},
		DialTimeout: 20 * time.Second, Logger: zap.NewNop()})
}

// said counts the lines of all members' logs that hold a text.
func (c cluster) said(text string) (lines []string) {
	for _, m := range c {
		log, _ := os.ReadFile(m.log())
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, text) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

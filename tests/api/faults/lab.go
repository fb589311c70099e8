package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"chorad.tests/api/harness"
	"chorad.tests/api/history"
)

const members = 3

// lab is a cluster whose members live in network namespaces of their own,
// around a bridge on which the clients are.
type lab struct {
	*bench
	number  int
	dir     string
	members []*member
}

type member struct {
	*harness.Server
	index int
	space string // its network namespace
	addr  string
	conn  *grpc.ClientConn // of the load
	look  *grpc.ClientConn // of those who look on
}

// options is what a fault needs the members to be started with.
type options struct {
	args []string
	// env is asked for the environment of each.
	env func(m *member) []string
	// diskMB: the data directory is a file system of that size.
	diskMB int
}

func newLab(number int, opts options) (*lab, error) {
	l := &lab{bench: &bench{}, number: number}
	err := guard(func() error { return l.build(opts) })
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) build(opts options) error {
	l.dir = harness.TempDir(l)
	bridge := fmt.Sprintf("br%d", l.number)
	if err := l.ip("link add %s type bridge", bridge); err != nil {
		return err
	}
	l.Cleanup(func() { _ = l.ip("link del %s", bridge) })
	if err := l.ip("addr add 10.99.%d.254/24 dev %s", l.number,
		bridge); err != nil {
		return err
	}
	if err := l.ip("link set %s up", bridge); err != nil {
		return err
	}
	var initial []string
	for i := range members {
		m, err := l.addMember(i, bridge, opts)
		if err != nil {
			return err
		}
		initial = append(initial, m.Name+"="+m.PeerURL)
	}
	for _, m := range l.members {
		m.Cluster = strings.Join(initial, ",")
		if err := m.Launch(); err != nil {
			return err
		}
	}
	for _, m := range l.members {
		if err := m.WaitReady(); err != nil {
			return fmt.Errorf("%s: %w\n%s", m.Name, err, m.LogTail(10))
		}
	}
	return nil
}

func (l *lab) ip(format string, args ...any) error {
	return run("ip", strings.Fields(fmt.Sprintf(format, args...))...)
}

func (l *lab) addMember(i int, bridge string, opts options) (*member, error) {
	m := &member{index: i, space: fmt.Sprintf("lab%dm%d", l.number, i+1),
		addr: fmt.Sprintf("10.99.%d.%d", l.number, i+1)}
	link := fmt.Sprintf("v%dm%d", l.number, i+1)
	if err := l.ip("netns add %s", m.space); err != nil {
		return nil, err
	}
	l.Cleanup(func() { _ = l.ip("netns del %s", m.space) })
	for _, command := range []string{
		"link add " + link + " type veth peer name eth0 netns " + m.space,
		"link set " + link + " master " + bridge + " up",
		"-n " + m.space + " link set lo up",
		"-n " + m.space + " addr add " + m.addr + "/24 dev eth0",
		"-n " + m.space + " link set eth0 up",
	} {
		if err := l.ip("%s", command); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(l.dir, fmt.Sprintf("m%d", i+1))
	if opts.diskMB > 0 {
		if err := smallDisk(data, opts.diskMB); err != nil {
			return nil, err
		}
		l.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) })
	}
	m.Server = harness.New(l, harness.Options{Name: fmt.Sprintf("m%d", i+1),
		Host: m.addr, DataDir: filepath.Join(data, "data"), Args: opts.args,
		Wrap: []string{"ip", "netns", "exec", m.space}})
	if opts.env != nil {
		m.SetEnv(opts.env(m)...)
	}
	l.members = append(l.members, m)
	return m, l.dial(m)
}

func (l *lab) dial(m *member) (err error) {
	if m.conn, err = history.Dial(m.Endpoint); err != nil {
		return err
	}
	if m.look, err = history.Dial(m.Endpoint); err != nil {
		return err
	}
	l.Cleanup(func() {
		_ = m.conn.Close()
		_ = m.look.Close()
	})
	return nil
}

// filter sets what a member's namespace does with packets that come in; no
// rules means that all of them pass.
func (m *member) filter(rules ...string) error {
	text := "add table ip faults\ndelete table ip faults\n"
	if len(rules) > 0 {
		text += "table ip faults {\n chain in {\n" +
			"  type filter hook input priority 0;\n  " +
			strings.Join(rules, "\n  ") + "\n }\n}\n"
	}
	cmd := exec.Command("ip", "netns", "exec", m.space, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w\n%s", err, out)
	}
	return nil
}

// view is what a member says about the leadership.
type view struct {
	id, leader, term uint64
}

func (m *member) view() (view, bool) {
	ctx, cancel := context.WithTimeout(context.Background(),
		300*time.Millisecond)
	defer cancel()
	status, err := pb.NewMaintenanceClient(m.look).Status(ctx,
		&pb.StatusRequest{})
	if err != nil {
		return view{}, false
	}
	return view{status.Header.MemberId, status.Leader, status.RaftTerm}, true
}

// agreed gives the leader if these members all name it, and it is one of them.
func agreed(of []*member) *member {
	views := make([]view, len(of))
	good := make([]bool, len(of))
	var group sync.WaitGroup
	for i, m := range of {
		group.Go(func() { views[i], good[i] = m.view() })
	}
	group.Wait()
	var leader *member
	for i, v := range views {
		if !good[i] || v.leader == 0 || v.leader != views[0].leader ||
			v.term != views[0].term {
			return nil
		}
		if v.id == v.leader {
			leader = of[i]
		}
	}
	return leader
}

// leader waits until one of these groups of members has one.
func leader(ctx context.Context, limit time.Duration, groups ...[]*member) (
	*member, error) {
	end := time.Now().Add(limit)
	for {
		for _, of := range groups {
			if found := agreed(of); found != nil {
				return found, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("no leader within %v", limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *lab) others(but *member) []*member {
	var others []*member
	for _, m := range l.members {
		if m != but {
			others = append(others, m)
		}
	}
	return others
}

// keepLogs copies what the members have logged to a place that stays.
func (l *lab) keepLogs(dir string) {
	_ = os.MkdirAll(dir, 0o755)
	for _, m := range l.members {
		_ = os.WriteFile(filepath.Join(dir, m.Name+".log"),
			[]byte(m.Log()), 0o644)
	}
}

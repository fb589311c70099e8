package harness

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Cluster is several servers that are members of one cluster.
type Cluster struct {
	Members []*Server

	t     testing.TB
	opts  Options
	named int // members so far, those that have left included
}

// NewCluster chooses names, ports and directories for one member per binary;
// "" is the server under test. The options apply to each of them.
func NewCluster(t testing.TB, opts Options, binaries ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, opts: opts}
	for _, binary := range binaries {
		c.newMember(binary)
	}
	for _, s := range c.Members {
		s.Cluster = c.Initial()
	}
	return c
}

// StartCluster is NewCluster with all of them started; a failure ends the
// test.
func StartCluster(t testing.TB, opts Options, binaries ...string) *Cluster {
	t.Helper()
	c := NewCluster(t, opts, binaries...)
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Cluster) newMember(binary string) *Server {
	opts := c.opts
	opts.Binary, opts.DataDir = binary, ""
	c.named++
	opts.Name = fmt.Sprintf("m%d", c.named)
	s := New(c.t, opts)
	c.Members = append(c.Members, s)
	return s
}

// Join chooses name, ports and directory of one more member that is going to
// join the others: they have to be told first, it isn't started.
func (c *Cluster) Join(binary string) *Server {
	s := c.newMember(binary)
	s.Cluster, s.Existing = c.Initial(), true
	return s
}

// Forget takes a member out of the list, and ends its process.
func (c *Cluster) Forget(s *Server) {
	s.Kill()
	for i, one := range c.Members {
		if one == s {
			c.Members = append(c.Members[:i:i], c.Members[i+1:]...)
			return
		}
	}
}

// Initial is the value of --initial-cluster for the members of now.
func (c *Cluster) Initial() string {
	var all []string
	for _, s := range c.Members {
		all = append(all, s.Name+"="+s.PeerURL)
	}
	return strings.Join(all, ",")
}

// Run starts all members and waits until all of them answer.
func (c *Cluster) Run() error {
	for _, s := range c.Members {
		if err := s.Launch(); err != nil {
			return err
		}
	}
	return c.WaitReady()
}

// WaitReady waits until all members answer.
func (c *Cluster) WaitReady() error {
	for _, s := range c.Members {
		if err := s.WaitReady(); err != nil {
			return fmt.Errorf("%s, %s: %w\n%s", s.Name, s.Binary, err,
				s.LogTail(30))
		}
	}
	return nil
}

// Kill ends all members at once.
func (c *Cluster) Kill() {
	for _, s := range c.Members {
		if s.Alive() {
			_ = s.Signal(syscall.SIGKILL)
		}
	}
	for _, s := range c.Members {
		s.Kill()
	}
}

// Endpoints are the client addresses, host:port, of the members.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, s := range c.Members {
		all = append(all, s.Endpoint)
	}
	return all
}

// Named gives the member of that name.
func (c *Cluster) Named(name string) *Server {
	for _, s := range c.Members {
		if s.Name == name {
			return s
		}
	}
	c.t.Fatalf("no member is called %s", name)
	return nil
}

// Others are the members except the one given.
func (c *Cluster) Others(but *Server) []*Server {
	var others []*Server
	for _, s := range c.Members {
		if s != but {
			others = append(others, s)
		}
	}
	return others
}

// Patience is how long a cluster may take for what needs an election.
func Patience() time.Duration { return 20 * time.Second * time.Duration(Slack()) }

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// preload is the environment that loads one of the libraries of tests/faults.
func preload(c *config, name string, more ...string) []string {
	return append([]string{"LD_PRELOAD=" + filepath.Join(c.library, name)},
		more...)
}

// arm is the file whose presence lets a library act, see faultio.c.
func (m *member) arm() string {
	return filepath.Join(filepath.Dir(m.LogPath), "arm")
}

func armed(m *member) error { return os.WriteFile(m.arm(), nil, 0o600) }

func disarmed(m *member) error { return os.Remove(m.arm()) }

/* ---- disks --------------------------------------------------------------- */

func slowDisk(ms int) func(c *config) options {
	return func(c *config) options {
		return options{env: func(m *member) []string {
			return preload(c, "libfaultio.so", "FAULTIO_MATCH=/member/wal",
				"FAULTIO_OP=fsync", "FAULTIO_NTH=1", "FAULTIO_STICKY=1",
				fmt.Sprintf("FAULTIO_DELAY_MS=%d", ms),
				"FAULTIO_ARM="+m.arm())
		}}
	}
}

// slow keeps all of them together: nobody has to give up because of it.
func slow(r *round, victims ...*member) (struck, error) {
	return struck{left: [][]*member{r.members}, lift: func() error {
		return each(victims, disarmed)
	}}, each(victims, armed)
}

func slowLeader(r *round) (struck, error) { return slow(r, r.leader) }

func slowAll(r *round) (struck, error) { return slow(r, r.members...) }

// stallLeader leaves the leadership to the others.
func stallLeader(r *round) (struck, error) {
	s, err := slow(r, r.leader)
	s.left = r.rest([]*member{r.leader})
	return s, err
}

func smallDisks(c *config) options {
	return options{diskMB: 400, args: []string{"--snapshot-count", "500",
		"--snapshot-catchup-entries", "100", "--max-wals", "1",
		"--max-snapshots", "1"}}
}

// fillDisk leaves no room on a member's disk. It may live on what it has, or
// stop; then it is started again when there is room.
func fillDisk(r *round) (struck, error) {
	victim := r.leader
	if r.rng.IntN(3) == 0 {
		victim = r.follower()
	}
	ballast := filepath.Join(filepath.Dir(victim.DataDir), "ballast")
	err := fill(ballast)
	left := append(r.rest([]*member{victim}), r.members)
	calm := make(chan struct{})
	revived := make(chan error, 1)
	return struck{left: left, lift: func() error {
		err := os.Remove(ballast)
		// What failed may be on its way out for a while.
		go func() {
			select {
			case <-victim.Exited():
				r.result.note = victim.Name + " stopped"
				revived <- victim.Launch()
			case <-calm:
				revived <- nil
			}
		}()
		return err
	}, after: func() error {
		close(calm)
		return <-revived
	}}, err
}

// fill takes all the room there is.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); err == syscall.ENOSPC {
			return nil
		} else if err != nil {
			block = block[:len(block)/2]
		}
	}
	return nil
}

func powerOptions(c *config) options {
	return options{env: func(m *member) []string {
		return preload(c, "libfaultio.so",
			"FAULTIO_MATCH="+m.DataDir, "FAULTIO_OP=write,fsync",
			"FAULTIO_NTH=1", "FAULTIO_STICKY=1", "FAULTIO_POWER="+m.DataDir,
			"FAULTIO_ARM="+m.arm())
	}}
}

// powerOff takes from members what isn't synced, and their lives, at the next
// thing they write. Who writes nothing, because too few of the others are left,
// has nothing to lose but its life.
func powerOff(r *round, victims ...*member) (struck, error) {
	err := each(victims, armed)
	for _, m := range victims {
		select {
		case <-m.Exited():
		case <-time.After(2 * time.Second):
			m.Kill()
		}
	}
	return struck{left: r.rest(victims), lift: func() error {
		if err := each(victims, disarmed); err != nil {
			return err
		}
		return each(victims, func(m *member) error { return m.Launch() })
	}}, err
}

/* ---- clocks -------------------------------------------------------------- */

func (m *member) clock() string {
	return filepath.Join(filepath.Dir(m.LogPath), "clock")
}

func clockOptions(c *config) options {
	return options{env: func(m *member) []string {
		return preload(c, "libfaultclock.so", "FAULTCLOCK_FILE="+m.clock())
	}}
}

// setClock moves a member's wall clock away from the true one.
func (m *member) setClock(by time.Duration) error {
	var text bytes.Buffer
	_ = binary.Write(&text, binary.NativeEndian, int64(by))
	file, err := os.OpenFile(m.clock(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt(text.Bytes(), 0)
	return err
}

// date is what a member takes for the time.
func (m *member) date() (time.Time, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	reply, err := client.Get(m.ClientURL + "/version")
	if err != nil {
		return time.Time{}, err
	}
	_ = reply.Body.Close()
	return http.ParseTime(reply.Header.Get("Date"))
}

// far is by how much a clock is set wrong, up to a year.
func (r *round) far() time.Duration {
	far := time.Duration(1) << (20 + r.rng.IntN(35))
	if r.rng.IntN(2) == 0 {
		return -far
	}
	return far
}

// misset sets the clocks of members wrong, and looks whether they are.
func (r *round) misset(victims []*member) error {
	return each(victims, func(m *member) error {
		far := r.far()
		if err := m.setClock(far); err != nil {
			return err
		}
		date, err := m.date()
		if err != nil {
			return err
		}
		if off := time.Until(date) - far; off.Abs() > 5*time.Second {
			return fmt.Errorf("its clock should be off by %v, and is at %v",
				far, date)
		}
		return nil
	})
}

const ttl = 60

// jump sets the clocks of some members wrong, and right again. That is nothing
// that an election or a lease goes by.
func jump(r *round) (struck, error) {
	lease, err := r.lease()
	if err != nil {
		return struck{}, err
	}
	victims := r.some(1 + r.rng.IntN(members))
	began := time.Now()
	err = r.misset(victims)
	return struck{left: [][]*member{r.members}, lift: func() error {
		lived := int64(time.Since(began) / time.Second)
		return errors.Join(r.alive(lease, ttl-lived), each(victims,
			func(m *member) error { return m.setClock(0) }))
	}}, err
}

// jumpAndKill kills the leader while the clocks are wrong, so that it starts
// with a wrong one.
func jumpAndKill(r *round) (struck, error) {
	victims := append(r.others(r.leader), r.leader)[r.rng.IntN(members):]
	err := r.misset(victims)
	if err != nil {
		return struck{}, err
	}
	s, err := kill(r, r.leader)
	return struck{left: s.left, lift: func() error {
		err := s.lift()
		if err == nil {
			err = r.leader.WaitReady()
		}
		return errors.Join(err, each(victims, func(m *member) error {
			return m.setClock(0)
		}))
	}}, err
}

func (r *round) lease() (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	reply, err := pb.NewLeaseClient(r.leader.look).LeaseGrant(ctx,
		&pb.LeaseGrantRequest{TTL: ttl})
	if err != nil {
		return 0, fmt.Errorf("grant a lease: %w", err)
	}
	return reply.ID, nil
}

// alive says whether a lease has the time left that it should have, give or
// take some seconds; a new leader gives it all of its time again.
func (r *round) alive(lease, left int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	reply, err := pb.NewLeaseClient(r.leader.look).LeaseTimeToLive(ctx,
		&pb.LeaseTimeToLiveRequest{ID: lease})
	if err != nil {
		return fmt.Errorf("ask for a lease: %w", err)
	}
	if reply.TTL < left-3 || reply.TTL > ttl+2 {
		return fmt.Errorf("a lease of %d s has %d s left after the clocks"+
			" jumped, instead of %d", ttl, reply.TTL, left)
	}
	return nil
}

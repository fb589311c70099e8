package main

import (
	"fmt"
	"strings"
	"syscall"
	"time"
)

// faults are all there are.
var faults = []*fault{
	{name: "kill-leader", what: "kill -9 of the leader",
		strike: func(r *round) (struck, error) { return kill(r, r.leader) }},
	{name: "kill-follower", what: "kill -9 of a follower",
		strike: func(r *round) (struck, error) {
			return kill(r, r.follower())
		}},
	{name: "kill-snapshot", what: "kill -9 of a follower, which needs a" +
		" snapshot then",
		options: func(*config) options {
			return options{args: []string{"--snapshot-count", "200",
				"--snapshot-catchup-entries", "50"}}
		},
		strike: killUntilBehind},
	{name: "kill-majority", what: "kill -9 of two members at once",
		strike: func(r *round) (struck, error) { return kill(r, r.some(2)...) }},
	{name: "kill-all", what: "kill -9 of all members at once",
		strike: func(r *round) (struck, error) {
			return kill(r, r.members...)
		}},

	{name: "stop-leader", what: "SIGSTOP of the leader",
		strike: func(r *round) (struck, error) { return pause(r, r.leader) }},
	{name: "stop-follower", what: "SIGSTOP of a follower",
		strike: func(r *round) (struck, error) {
			return pause(r, r.follower())
		}},
	{name: "stop-majority", what: "SIGSTOP of two members",
		strike: func(r *round) (struck, error) { return pause(r, r.some(2)...) }},
	{name: "stop-all", what: "SIGSTOP of all members",
		strike: func(r *round) (struck, error) {
			return pause(r, r.members...)
		}},

	{name: "cut-leader", what: "the leader cut off from the others",
		strike: func(r *round) (struck, error) {
			return cut(r, append(r.from(r.leader), r.to(r.leader)...))
		}},
	{name: "cut-follower", what: "a follower cut off from the others",
		strike: func(r *round) (struck, error) {
			f := r.follower()
			return cut(r, append(r.from(f), r.to(f)...))
		}},
	{name: "cut-all", what: "each member alone",
		strike: func(r *round) (struck, error) {
			return cut(r, r.allLinks())
		}},
	{name: "cut-link", what: "two members, often the leader, cut off from" +
		" each other",
		strike: func(r *round) (struck, error) {
			two := r.some(2)
			a, b := two[0].index, two[1].index
			return cut(r, []link{{a, b}, {b, a}})
		}},
	{name: "oneway-from-leader", what: "nothing comes through from the" +
		" leader",
		strike: func(r *round) (struck, error) {
			return cut(r, r.from(r.leader))
		}},
	{name: "oneway-to-leader", what: "nothing comes through to the leader",
		strike: func(r *round) (struck, error) {
			return cut(r, r.to(r.leader))
		}},
	{name: "oneway-from-follower", what: "nothing comes through from a" +
		" follower",
		strike: func(r *round) (struck, error) {
			return cut(r, r.from(r.follower()))
		}},
	{name: "oneway-to-follower", what: "nothing comes through to a follower",
		strike: func(r *round) (struck, error) {
			return cut(r, r.to(r.follower()))
		}},
	{name: "cut-shapes", what: "any set of the six directions, another one" +
		" each round",
		strike: cutShape},
	{name: "cut-flapping", what: "another set of directions every few" +
		" hundred milliseconds",
		strike: flap},
	{name: "loss", what: "30 % of the packets between members are lost",
		strike: func(r *round) (struck, error) {
			return lose(r, "ip saddr 10.99.0.0/16 ip saddr & 0.0.0.255 < 100 ")
		}},
	{name: "loss-everywhere", what: "30 % of all packets to members are lost",
		strike: func(r *round) (struck, error) { return lose(r, "") }},

	{name: "clock-jumps", what: "the clocks of some members jump by up to a" +
		" year, and back",
		options: clockOptions, strike: jump},
	{name: "clock-restart", what: "the leader is killed, and starts while" +
		" clocks are wrong",
		options: clockOptions, strike: jumpAndKill},
	{name: "slow-disk", what: "each sync of the leader's log takes 200 ms",
		options: slowDisk(200), strike: slowLeader},
	{name: "slow-disks", what: "each sync of all members' logs takes 200 ms",
		options: slowDisk(200), strike: slowAll},
	{name: "stalled-disk", what: "the syncs of the leader's log hang",
		// It hands over, after an election timeout of its own.
		options: slowDisk(60_000), strike: stallLeader,
		within: 1500 * time.Millisecond},
	{name: "full-disk", what: "no room on the disk of a member, often the" +
		" leader",
		options: smallDisks, size: 8 << 10, strike: fillDisk},
	{name: "power-leader", what: "the leader loses power, and what isn't" +
		" synced",
		options: powerOptions,
		strike: func(r *round) (struck, error) {
			return powerOff(r, r.leader)
		}},
	{name: "power-all", what: "all members do",
		options: powerOptions,
		strike: func(r *round) (struck, error) {
			return powerOff(r, r.members...)
		}},
}

// shortSet are those of which scripts/test makes a few rounds.
var shortSet = []string{"kill-leader", "kill-majority", "stop-leader",
	"cut-leader", "cut-shapes", "loss", "clock-jumps", "slow-disk",
	"full-disk", "power-all"}

// follower is any of them.
func (r *round) follower() *member {
	return r.others(r.leader)[r.rng.IntN(members-1)]
}

// some gives so many members, any of them.
func (r *round) some(n int) []*member {
	var some []*member
	for _, i := range r.rng.Perm(members)[:n] {
		some = append(some, r.members[i])
	}
	return some
}

// rest are the members other than these, if they are a majority.
func (r *round) rest(but []*member) [][]*member {
	var rest []*member
	for _, m := range r.members {
		found := false
		for _, one := range but {
			found = found || m == one
		}
		if !found {
			rest = append(rest, m)
		}
	}
	if len(rest) <= members/2 {
		return nil
	}
	return [][]*member{rest}
}

// each does it to one after the other until one fails.
func each(all []*member, do func(m *member) error) error {
	for _, m := range all {
		if err := do(m); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

// kill ends members at once; they are started again afterwards.
func kill(r *round, victims ...*member) (struck, error) {
	err := each(victims, func(m *member) error {
		return m.Signal(syscall.SIGKILL)
	})
	for _, m := range victims {
		m.Kill()
	}
	return struck{left: r.rest(victims), lift: func() error {
		return each(victims, func(m *member) error { return m.Launch() })
	}}, err
}

// pause lets members stand still, with all connections open.
func pause(r *round, victims ...*member) (struck, error) {
	err := each(victims, func(m *member) error {
		return m.Signal(syscall.SIGSTOP)
	})
	return struck{left: r.rest(victims), lift: func() error {
		return each(victims, func(m *member) error {
			return m.Signal(syscall.SIGCONT)
		})
	}}, err
}

// killUntilBehind starts a follower again when the leader's log no longer
// reaches back to where it was. For half a minute after a snapshot was sent the
// leader keeps its log, so that not every round needs one.
func killUntilBehind(r *round) (struck, error) {
	victim := r.follower()
	had := strings.Count(victim.Log(), installed)
	s, err := kill(r, victim)
	if err != nil {
		return s, err
	}
	s.left = nil // that is measured elsewhere
	s.after = func() error {
		if strings.Count(victim.Log(), installed) > had {
			r.result.note = "by a snapshot"
		} else if r.number == 1 {
			return fmt.Errorf("%s wasn't sent a snapshot", victim.Name)
		}
		return nil
	}
	return s, r.written(400)
}

// installed is what a member logs when it has taken over a snapshot.
const installed = `"msg":"applied snapshot"`

// written waits for so many writes.
func (r *round) written(n int64) error {
	from, err := revision(r.leader.look)
	if err != nil {
		return err
	}
	for range 1000 {
		now, err := revision(r.leader.look)
		if err != nil || now >= from+n {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("no %d writes in 20 seconds", n)
}

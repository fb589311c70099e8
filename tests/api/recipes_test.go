package api

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"chorad.tests/api/harness"
)

// recipeScenarios are played into the server and the real etcd; what is
// written down has to be equal.
var recipeScenarios = []struct {
	name string
	play func(r *script)
}{
	{"lock", func(r *script) {
		lease := r.grant(0x7001, 300)
		key := r.lockNow("a", lease)
		r.keys(1)
		r.showLease(lease)
		r.lockNow("a", lease) // the same again
		r.unlock(key)
		r.keys(0)
		r.unlock(key) // nobody's
		r.lockNow("a", lease)
		r.lockNow("b", lease)
		r.lockNow("a/b", lease)
		r.lockNow("", lease)
		r.keys(4)
	}},
	{"lock without a lease", func(r *script) {
		key := r.lockNow("a", 0)
		r.keys(1)
		r.showLeases()
		r.showGranted()
		r.unlock(key)
		r.showLeases()
		r.lockNow("b", 0)
		r.showLeases()
	}},
	{"odd leases", func(r *script) {
		r.lockNow("a", 0x5555)
		r.lockNow("a", -5)
		r.grant(-5, 300)
		r.lockNow("a", -5)
		r.grant(-0x7fffffffffffffff-1, 300)
		r.lockNow("b", -0x7fffffffffffffff-1)
		r.grant(0x7fffffffffffffff, 300)
		r.lockNow("c", 0x7fffffffffffffff)
		r.grant(10, 300)
		r.lockNow("d", 10)
		r.keys(4)
	}},
	{"unlock", func(r *script) {
		r.unlock(nil)
		r.unlock([]byte("absent"))
		r.put("plain", "x")
		r.unlock([]byte("plain"))
		r.keys(0)
	}},
	{"waiting", func(r *script) {
		for id := int64(0x7001); id <= 0x7004; id++ {
			r.grant(id, 300)
		}
		first := r.lockNow("a", 0x7001)
		second := r.startLock("a", 0x7002, 0)
		r.keys(2)
		third := r.startLock("a", 0x7003, 0)
		r.keys(3)
		r.stillWaits(second, third)
		r.put("a", "x")
		r.put("aa/1", "x")
		r.unlock(first)
		r.end(second)
		r.stillWaits(third)
		r.put("other", "x")
		fourth := r.startLock("a", 0x7004, 0)
		r.keys(6)
		r.revoke(0x7002)
		r.end(third)
		r.stillWaits(fourth)
		r.revoke(0x7003)
		r.end(fourth)
		r.keys(4)
	}},
	{"a key in the middle goes", func(r *script) {
		for id := int64(0x7001); id <= 0x7003; id++ {
			r.grant(id, 300)
		}
		first := r.lockNow("a", 0x7001)
		second := r.startLock("a", 0x7002, 0)
		r.keys(2)
		third := r.startLock("a", 0x7003, 0)
		r.keys(3)
		r.put("a/7001", "still there")
		second.cancel()
		r.end(second)
		r.keys(2)
		r.stillWaits(third)
		r.unlock(first)
		r.end(third)
	}},
	{"strangers in line", func(r *script) {
		r.grant(0x7001, 300)
		r.put("a/zzz", "")
		r.put("a/b/c", "")
		first := r.startLock("a", 0x7001, 0)
		r.keys(3)
		r.stillWaits(first)
		r.remove([]byte("a/zzz"))
		r.stillWaits(first)
		r.put("a/b/c", "again")
		r.put("a/late", "")
		r.remove([]byte("a/b/c"))
		r.end(first)
		r.keys(2)
	}},
	{"the key was there before", func(r *script) {
		r.grant(0x7001, 300)
		r.put("a/7001", "plain")
		r.lockNow("a", 0x7001)
		r.keys(1)
	}},
	{"own key taken away", func(r *script) {
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		first := r.lockNow("a", 0x7001)
		second := r.startLock("a", 0x7002, 0)
		r.keys(2)
		r.revoke(0x7002)
		r.keys(1)
		r.unlock(first)
		r.end(second)
		r.keys(0)
	}},
	{"two calls with one lease", func(r *script) {
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		first := r.lockNow("a", 0x7001)
		second := r.startLock("a", 0x7002, 0)
		r.keys(2)
		again := r.startLock("a", 0x7002, 0)
		r.stillWaits(second, again)
		r.unlock(first)
		r.end(second)
		r.end(again)
		r.keys(1)
	}},
	{"one of two calls with one lease is cancelled", func(r *script) {
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		first := r.lockNow("a", 0x7001)
		second := r.startLock("a", 0x7002, 0)
		r.keys(2)
		again := r.startLock("a", 0x7002, 0)
		r.stillWaits(second, again)
		again.cancel()
		r.end(again)
		r.keys(1)
		r.unlock(first)
		r.end(second)
		r.keys(0)
	}},
	{"deadline", func(r *script) {
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		first := r.lockNow("a", 0x7001)
		second := r.startLock("a", 0x7002, 300*time.Millisecond)
		r.keys(2)
		r.end(second)
		r.keys(1)
		r.unlock(first)
		r.lockNow("a", 0x7002)
		late := r.startLock("b", 0x7002, time.Nanosecond)
		r.end(late)
		r.stillWaits()
		r.keys(1)
	}},
	{"campaign", func(r *script) {
		r.leader("e")
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		first := r.campaignNow("e", 0x7001, "one")
		r.leader("e")
		r.campaignNow("e", 0x7001, "one")
		r.campaignNow("e", 0x7001, "one again")
		r.leader("e")
		second := r.startCampaign("e", 0x7002, "two", 0)
		r.keys(2)
		r.stillWaits(second)
		r.leader("e")
		r.proclaim(first, "one more")
		r.stillWaits(second)
		r.resign(first)
		r.end(second)
		r.leader("e")
		r.keys(1)
		r.campaignNow("", 0x7001, "nameless")
		r.leader("")
		r.campaignNow("f", 0, "no lease")
		r.leader("f")
		r.campaignNow("g", 0x7fff, "unknown lease")
		r.showLeases()
	}},
	{"campaign again while waiting", func(r *script) {
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		first := r.campaignNow("e", 0x7001, "one")
		second := r.startCampaign("e", 0x7002, "two", 0)
		r.keys(2)
		r.stillWaits(second)
		again := r.startCampaign("e", 0x7002, "two again", 0)
		r.stillWaits(second, again)
		r.keys(2)
		r.resign(first)
		r.end(second)
		r.end(again)
		r.keys(1)
	}},
	{"candidates that go", func(r *script) {
		for id := int64(0x7001); id <= 0x7004; id++ {
			r.grant(id, 300)
		}
		r.campaignNow("e", 0x7001, "one")
		second := r.startCampaign("e", 0x7002, "two", 0)
		r.keys(2)
		third := r.startCampaign("e", 0x7003, "three", 300*time.Millisecond)
		r.keys(3)
		r.end(third)
		r.keys(2)
		second.cancel()
		r.end(second)
		r.keys(1)
		fourth := r.startCampaign("e", 0x7004, "four", 0)
		r.keys(2)
		r.revoke(0x7001)
		r.end(fourth)
	}},
	{"own candidature taken away", func(r *script) {
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		first := r.campaignNow("e", 0x7001, "one")
		second := r.startCampaign("e", 0x7002, "two", 0)
		r.keys(2)
		r.revoke(0x7002)
		r.keys(1)
		r.resign(first)
		r.end(second)
		r.keys(0)
	}},
	{"proclaim", func(r *script) {
		r.proclaim(nil, "x")
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		leader := r.campaignNow("e", 0x7001, "one")
		r.proclaim(leader, "two")
		r.keys(1)
		leader.Lease = 0x7002
		r.proclaim(leader, "another lease")
		r.keys(1)
		leader.Lease = 0
		r.proclaim(leader, "no lease")
		r.keys(1)
		leader.Lease = 0x7fff
		r.proclaim(leader, "unknown lease")
		leader.Lease = 0x7001
		leader.Rev++
		r.proclaim(leader, "wrong revision")
		leader.Rev = 0
		r.proclaim(leader, "no revision")
		leader.Key = []byte("new/1")
		r.proclaim(leader, "made by proclaiming")
		leader.Key = nil
		r.proclaim(leader, "no key")
		leader.Rev = 1
		leader.Key = []byte("absent")
		r.proclaim(leader, "absent")
		leader.Name = []byte("whatever")
		leader.Lease = 0x7fff
		r.proclaim(leader, "absent, unknown lease")
		r.keys(2)
		r.showLeases()
	}},
	{"resign", func(r *script) {
		r.resign(nil)
		r.grant(0x7001, 300)
		leader := r.campaignNow("e", 0x7001, "one")
		leader.Rev++
		r.resign(leader)
		leader.Rev--
		leader.Lease = 0x7fff
		leader.Name = nil
		r.resign(leader)
		r.resign(leader)
		r.leader("e")
		r.showLeases()
		leader.Lease = 0
		r.resign(leader)
		r.showLeases()
		leader.Key = nil
		r.resign(leader)
		leader.Rev = 0
		leader.Key = []byte("absent")
		r.resign(leader)
		r.keys(0)
	}},
	{"observe", func(r *script) {
		for id := int64(0x7001); id <= 0x7004; id++ {
			r.grant(id, 300)
		}
		early := r.observe("e", 0)
		r.sees(early, 0)
		first := r.campaignNow("e", 0x7001, "one")
		r.sees(early, 1)
		late := r.observe("e", 0)
		r.sees(late, 1)
		second := r.startCampaign("e", 0x7002, "two", 0)
		r.keys(2)
		r.sees(early, 0)
		r.proclaim(first, "one more")
		r.sees(early, 1)
		r.sees(late, 1)
		r.put("x", "y")
		r.resign(first)
		r.end(second)
		r.sees(early, 1)
		third := r.startCampaign("e", 0x7003, "three", 0)
		r.keys(3)
		third.cancel()
		r.end(third)
		r.keys(2)
		r.sees(early, 0)
		r.revoke(0x7002)
		r.sees(early, 0)
		r.leader("e")
		r.put("e/stranger", "leads")
		r.sees(early, 1)
		r.put("e/stranger", "leads on")
		r.sees(early, 1)
		r.put("other", "y")
		r.remove([]byte("e/stranger"))
		r.campaignNow("e", 0x7004, "four")
		r.sees(early, 1)
		early.cancel()
		r.sees(early, 1)
	}},
	{"observe with a deadline", func(r *script) {
		o := r.observe("e", 300*time.Millisecond)
		r.sees(o, 1)
	}},
	{"names of all kinds", func(r *script) {
		r.grant(0x7001, 300)
		for _, name := range []string{"\x00", "\xff\xff", "a/", "/", "ä/ö"} {
			r.lockNow(name, 0x7001)
			r.campaignNow(name, 0x7001, "x")
			r.leader(name)
		}
		r.keys(5)
	}},
	{"too large", func(r *script) {
		large := strings.Repeat("x", 1536<<10)
		r.grant(0x7001, 300)
		r.lockNow(large, 0x7001)
		r.campaignNow("e", 0x7001, large)
		leader := r.campaignNow("e", 0x7001, "one")
		r.campaignNow("e", 0x7001, large)
		r.proclaim(leader, large)
		r.keys(1)
		r.lockNow(strings.Repeat("x", 2100<<10), 0x7001)
	}},
	{"no space", func(r *script) {
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		held := r.lockNow("a", 0x7001)
		leader := r.campaignNow("e", 0x7001, "one")
		waiter := r.startLock("a", 0x7002, 0)
		r.keys(3)
		r.stillWaits(waiter)
		r.alarm(pb.AlarmType_NOSPACE)
		r.lockNow("a", 0x7001)
		r.lockNow("b", 0x7001)
		r.lockNow("b", 0)
		r.proclaim(leader, "x")
		r.leader("e")
		r.unlock(held)
		r.end(waiter)
		r.campaignNow("e", 0x7001, "one")
		r.campaignNow("e", 0x7001, "two")
		r.keys(2)
		r.resign(leader)
		leader.Lease = 0
		r.resign(leader)
		r.keys(1)
		r.showLeases()
	}},
	{"corrupt", func(r *script) {
		r.grant(0x7001, 300)
		held := r.lockNow("a", 0x7001)
		leader := r.campaignNow("e", 0x7001, "one")
		r.alarm(pb.AlarmType_CORRUPT)
		r.lockNow("a", 0x7001)
		r.lockNow("a", 0)
		r.unlock(held)
		r.proclaim(leader, "x")
		r.resign(leader)
		r.leader("e")
	}},
	{"an expired lease lets the next one in", func(r *script) {
		r.grant(0x7001, 2)
		r.grant(0x7002, 300)
		r.lockNow("a", 0x7001)
		waiter := r.startLock("a", 0x7002, 0)
		r.end(waiter)
		r.keys(1)
		r.grant(0x7003, 2)
		r.campaignNow("e", 0x7003, "one")
		candidate := r.startCampaign("e", 0x7002, "two", 0)
		r.end(candidate)
		r.keys(2)
	}},
	{"compaction", func(r *script) {
		r.grant(0x7001, 300)
		r.grant(0x7002, 300)
		held := r.lockNow("a", 0x7001)
		waiter := r.startLock("a", 0x7002, 0)
		r.keys(2)
		r.stillWaits(waiter)
		o := r.observe("a", 0)
		r.sees(o, 1)
		for range 5 {
			r.put("other", "x")
		}
		r.compact(7)
		r.unlock(held)
		r.end(waiter)
		r.sees(o, 1)
		r.compact(9)
		late := r.observe("a", 0)
		r.sees(late, 1)
		r.leader("a")
	}},
	{"observing several", func(r *script) {
		for id := int64(0x7001); id <= 0x7003; id++ {
			r.grant(id, 300)
		}
		outer := r.observe("e", 0)
		inner := r.observe("e/f", 0)
		other := r.observe("g", 0)
		first := r.campaignNow("e/f", 0x7001, "one")
		r.sees(outer, 1)
		r.sees(inner, 1)
		r.sees(other, 0)
		second := r.startCampaign("e", 0x7002, "two", 0)
		r.keys(2)
		r.stillWaits(second)
		r.resign(first)
		r.end(second)
		r.sees(outer, 1)
		r.sees(inner, 0)
		r.campaignNow("e/f", 0x7003, "three")
		r.sees(outer, 0)
		r.sees(inner, 1)
		r.campaignNow("g", 0x7003, "four")
		r.sees(other, 1)
		outer.cancel()
		r.sees(outer, 1)
		r.put("g/7003", "five")
		r.sees(other, 1)
	}},
}

// etcd answers a candidate whose key has gone while it waited that it leads.
// chorad tells it the truth.
var truth = strings.NewReplacer(
	`campaign "e" L2 "two": elected "e" "e/7002" rev 3 lease L2, rev 3`+
		"\n0 keys",
	`campaign "e" L2 "two": Unknown "election: not leader"`+"\n0 keys")

// TestRecipes plays calls of the Lock and Election services into the server
// and the real etcd and finds all answers equal.
func TestRecipes(t *testing.T) {
	for _, scenario := range recipeScenarios {
		t.Run(scenario.name, func(t *testing.T) {
			t.Parallel()
			var text [2]string
			tested := harness.Start(t, harness.Options{
				DataDir: filepath.Join(harness.Memory(t), "data")})
			etcd := harness.Start(t, harness.Options{
				DataDir: filepath.Join(harness.Memory(t), "data"),
				Binary:  harness.Tool(t, "etcd")})
			for i, server := range []*harness.Server{tested, etcd} {
				r := newScript(t, server)
				scenario.play(r)
				text[i] = r.text()
				server.Kill()
			}
			if tested.IsChorad() {
				text[1] = truth.Replace(text[1])
			}
			if text[0] != text[1] {
				t.Errorf("%s:\n%s\netcd:\n%s", tested.Binary, text[0],
					text[1])
			}
		})
	}
}

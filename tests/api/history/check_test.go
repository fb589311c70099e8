package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is what a correct store and its clients could have lived through.
type world struct {
	ops    []*Op
	events []Event
}

type cell struct {
	value                string
	create, mod, version int64
}

// live makes a history of a correct store: each operation takes effect at one
// moment while it is under way; one in so many is never answered.
func live(seed uint64, lostOneIn int) *world {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{}
	store := map[string]*cell{}
	revision := int64(1)
	free := make([]int64, 6) // when each client is free again
	recent := map[string]string{}
	for n := range 600 {
		now := int64(n+1) * 100 // when it takes effect
		id := rng.IntN(len(free))
		if free[id] >= now {
			continue
		}
		op := &Op{Client: id, Kind: Kind(rng.IntN(5)),
			Key: fmt.Sprint("k", rng.IntN(3))}
		if op.Kind != Get && op.Kind != Delete {
			op.Value = fmt.Sprint("v", n)
		}
		if op.Kind == Swap {
			op.Old = recent[op.Key]
		}
		op.Call = max(free[id]+1, now-rng.Int64N(400))
		op.Return = now + rng.Int64N(400)
		free[id] = op.Return
		lost := lostOneIn > 0 && rng.IntN(lostOneIn) == 0
		if !lost || rng.IntN(2) == 0 {
			w.apply(store, op, &revision)
		}
		if lost {
			op.Return, op.Revision, op.Done, op.Found = Never, 0, false, nil
		}
		if c := store[op.Key]; c != nil {
			recent[op.Key] = c.value
		}
		w.ops = append(w.ops, op)
	}
	return w
}

func (w *world) apply(store map[string]*cell, op *Op, revision *int64) {
	c := store[op.Key]
	put := op.Kind == Put || op.Kind == Create && c == nil ||
		op.Kind == Swap && c != nil && c.value == op.Old
	switch {
	case put:
		*revision++
		if c == nil {
			c = &cell{create: *revision}
			store[op.Key] = c
		}
		c.value, c.mod = op.Value, *revision
		c.version++
		op.Done = op.Kind != Put
		w.events = append(w.events, Event{*revision, op.Key, op.Value, false})
	case op.Kind == Delete && c != nil:
		*revision++
		op.Done = true
		delete(store, op.Key)
		w.events = append(w.events, Event{*revision, op.Key, "", true})
	case op.Kind != Delete && c != nil:
		op.Found = &Found{c.value, c.create, c.mod, c.version}
	}
	op.Revision = *revision
}

// check is all that a round checks.
func (w *world) check(t *testing.T) error {
	book := NewBook()
	book.Add(w.ops)
	last := w.events[len(w.events)-1].Revision
	if err := book.Audit(w.events, 1, last, w.ops); err != nil {
		return err
	}
	if err := InOrder(w.ops); err != nil {
		return err
	}
	return w.linearizable(t)
}

func (w *world) linearizable(t *testing.T) error {
	return Linearizable(w.ops, 20*time.Second, t.TempDir())
}

func TestCorrect(t *testing.T) {
	unknown := 0
	for seed := range uint64(40) {
		w := live(seed, 40)
		for _, op := range w.ops {
			if !op.Known() {
				unknown++
			}
		}
		if err := w.check(t); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := Shown(w.events, w.events[:len(w.events)/2]); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if unknown < 40 {
		t.Errorf("only %d operations were not answered", unknown)
	}
}

// pick gives one of the operations in the middle for which it holds.
func (w *world) pick(holds func(op *Op) bool) int {
	for i := len(w.ops) / 3; i < len(w.ops); i++ {
		if w.ops[i].Known() && holds(w.ops[i]) {
			return i
		}
	}
	panic("no such operation")
}

// before is the newest write to an operation's key that was acknowledged
// before that was asked for.
func (w *world) before(i int) *Op {
	var last *Op
	for _, op := range w.ops[:i] {
		if op.Known() && op.Writes() && op.Key == w.ops[i].Key &&
			op.Return < w.ops[i].Call &&
			(last == nil || op.Revision > last.Revision) {
			last = op
		}
	}
	return last
}

func reads(op *Op) bool { return op.Kind == Get && op.Found != nil }

// TestBroken falsifies single answers, each as a fault of a store would, for
// Linearizable alone, which knows nothing but the answers. All are answered:
// what isn't explains a lot.
func TestBroken(t *testing.T) {
	cases := map[string]func(w *world){
		"a value that nobody wrote": func(w *world) {
			w.ops[w.pick(reads)].Found.Value = "other"
		},
		"a key that is gone": func(w *world) {
			w.ops[w.pick(reads)].Found = nil
		},
		"a version twice": func(w *world) {
			w.ops[w.pick(reads)].Found.Version++
		},
		"another revision of the change": func(w *world) {
			w.ops[w.pick(reads)].Found.Mod--
		},
		"another revision of the creation": func(w *world) {
			i := w.pick(func(op *Op) bool {
				return reads(op) && op.Found.Version > 1
			})
			w.ops[i].Found.Create = w.ops[i].Found.Mod
		},
		"a condition that didn't hold": func(w *world) {
			i := w.pick(func(op *Op) bool {
				return op.Kind == Create && !op.Done
			})
			w.ops[i].Done, w.ops[i].Found = true, nil
			w.ops[i].Revision++
		},
		"a condition that held": func(w *world) {
			i := w.pick(func(op *Op) bool {
				return op.Kind == Create && op.Done
			})
			w.ops[i].Done = false
		},
		"a deletion of nothing": func(w *world) {
			i := w.pick(func(op *Op) bool {
				return op.Kind == Delete && !op.Done
			})
			w.ops[i].Done = true
		},
		"a stale read": func(w *world) {
			i := w.pick(func(op *Op) bool { return reads(op) })
			old := *w.ops[i]
			for j := i + 1; j < len(w.ops); j++ {
				op := w.ops[j]
				last := w.before(j)
				if op.Known() && op.Kind == Get && op.Key == old.Key &&
					last != nil && last.Revision > old.Revision {
					op.Found, op.Revision = old.Found, old.Revision
					return
				}
			}
			panic("no later read")
		},
		"a write lost": func(w *world) {
			// A later acknowledged write appears under the same version.
			i := w.pick(func(op *Op) bool {
				return op.Kind == Put
			})
			one := *w.ops[i]
			one.Value, one.Client = "lost", 99
			one.Call, one.Return = one.Return+1, one.Return+2
			one.Revision = one.Revision*2 + 1
			w.ops = append(w.ops, &one)
		},
	}
	for name, falsify := range cases {
		for seed := range uint64(5) {
			w := live(seed+100, 0)
			falsify(w)
			err := w.linearizable(t)
			if err == nil || !strings.Contains(err.Error(),
				"not linearizable") {
				t.Errorf("%s, seed %d: %v", name, seed, err)
			}
		}
	}
}

// TestBrokenBook falsifies what only the whole history shows.
func TestBrokenBook(t *testing.T) {
	writes := func(op *Op) bool { return op.Kind == Put }
	cases := map[string]func(w *world){
		"lost": func(w *world) {
			r := w.ops[w.pick(writes)].Revision
			w.events = slices.DeleteFunc(w.events, func(e Event) bool {
				return e.Revision == r
			})
		},
		"lost, and all others moved up": func(w *world) {
			r := w.ops[w.pick(writes)].Revision
			w.events = slices.DeleteFunc(w.events, func(e Event) bool {
				return e.Revision == r
			})
			for i := range w.events {
				w.events[i].Revision = int64(i) + 2
			}
		},
		"happened twice": func(w *world) {
			i := w.pick(writes)
			at := slices.IndexFunc(w.events, func(e Event) bool {
				return e.Revision == w.ops[i].Revision
			})
			w.events = append(w.events, w.events[at])
			w.events[len(w.events)-1].Revision = int64(len(w.events)) + 1
		},
		"from nowhere": func(w *world) {
			w.events = append(w.events, Event{int64(len(w.events)) + 2, "k0",
				"nobody's", false})
		},
		"one revision twice": func(w *world) {
			i := w.pick(writes)
			j := w.pick(func(op *Op) bool {
				return writes(op) && op != w.ops[i]
			})
			w.ops[j].Revision = w.ops[i].Revision
		},
		"a condition that failed": func(w *world) {
			i := w.pick(func(op *Op) bool {
				return op.Kind == Create && !op.Done
			})
			w.events = append(w.events, Event{int64(len(w.events)) + 2,
				w.ops[i].Key, w.ops[i].Value, false})
		},
		"back in time": func(w *world) {
			i := w.pick(func(op *Op) bool { return op.Kind == Get })
			w.ops[i].Revision = 1
		},
	}
	for name, falsify := range cases {
		for seed := range uint64(5) {
			w := live(seed+200, 40)
			falsify(w)
			book := NewBook()
			book.Add(w.ops)
			err := book.Audit(w.events, 1,
				w.events[len(w.events)-1].Revision, w.ops)
			if err == nil {
				err = InOrder(w.ops)
			}
			if err == nil {
				t.Errorf("%s, seed %d: not noticed", name, seed)
			}
		}
	}
}

func TestBrokenWatch(t *testing.T) {
	w := live(1, 40)
	half := slices.Clone(w.events[:len(w.events)/2])
	hole := slices.Delete(slices.Clone(half), 9, 10)
	turned := slices.Clone(half)
	turned[4], turned[5] = turned[5], turned[4]
	more := append(slices.Clone(w.events), half[0])
	for i, shown := range [][]Event{hole, turned, more, half[1:]} {
		if Shown(w.events, shown) == nil {
			t.Errorf("case %d: not noticed", i)
		}
	}
}

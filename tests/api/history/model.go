package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/anishathalye/porcupine"
)

// state is one key. A write of which nothing was heard gets its revision once
// it is read; until then that is 0.
type state struct {
	present              bool
	value                string
	create, mod, version int64
	// Later writes have a higher revision, later reads none that is lower.
	floor int64
}

func (s state) put(op *Op) (bool, state) {
	if op.Known() && op.Revision <= s.floor {
		return false, s
	}
	revision := int64(0)
	if op.Known() {
		revision = op.Revision
		s.floor = revision
	}
	if !s.present {
		s.create, s.version = revision, 0
	}
	s.present, s.value, s.mod = true, op.Value, revision
	s.version++
	return true, s
}

func (s state) delete(op *Op) (bool, state) {
	if op.Known() && (op.Done != s.present || op.Revision < s.floor ||
		op.Done && op.Revision == s.floor) {
		return false, s
	}
	floor := s.floor
	if op.Known() {
		floor = op.Revision
	}
	return true, state{floor: floor}
}

// same compares a revision with what was read, and learns one not known yet.
func (s state) same(known *int64, read int64) bool {
	if *known == 0 && read > 0 {
		*known = read
		return true
	}
	return *known == read
}

func (s state) get(op *Op) (bool, state) {
	if !op.Known() {
		return true, s
	}
	if op.Revision < s.floor || s.present != (op.Found != nil) {
		return false, s
	}
	if f := op.Found; f != nil {
		learned := s.mod == 0
		if f.Value != s.value || f.Version != s.version ||
			f.Mod > op.Revision || f.Create > f.Mod ||
			!s.same(&s.mod, f.Mod) || !s.same(&s.create, f.Create) ||
			learned && f.Mod <= s.floor {
			return false, s
		}
	}
	s.floor = op.Revision
	return true, s
}

func (s state) branch(op *Op, holds bool) (bool, state) {
	if !op.Known() {
		if holds {
			return s.put(op)
		}
		return true, s
	}
	if op.Done != holds {
		return false, s
	}
	if holds {
		return s.put(op)
	}
	return s.get(op)
}

func (s state) step(op *Op) (bool, state) {
	switch op.Kind {
	case Get:
		return s.get(op)
	case Put:
		return s.put(op)
	case Delete:
		return s.delete(op)
	case Swap:
		return s.branch(op, s.present && s.value == op.Old)
	default:
		return s.branch(op, !s.present)
	}
}

func byKey(all []porcupine.Operation) [][]porcupine.Operation {
	keys := map[string][]porcupine.Operation{}
	for _, one := range all {
		key := one.Input.(*Op).Key
		keys[key] = append(keys[key], one)
	}
	var parts [][]porcupine.Operation
	for _, part := range keys {
		parts = append(parts, part)
	}
	return parts
}

var model = porcupine.Model{
	Partition: byKey,
	Init:      func() any { return state{} },
	Step: func(before, input, _ any) (bool, any) {
		ok, after := before.(state).step(input.(*Op))
		return ok, after
	},
	DescribeOperation: func(input, _ any) string {
		return input.(*Op).String()
	},
	DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
}

// Linearizable says whether the operations on keys that weren't there before
// can be put into an order that explains all answers and that never turns
// round two of which one was answered before the other was asked. If not, it
// leaves a picture in the directory.
func Linearizable(ops []*Op, limit time.Duration, pictures string) error {
	var all []porcupine.Operation
	for _, op := range ops {
		if op.Known() || op.Kind != Get {
			all = append(all, porcupine.Operation{ClientId: op.Client,
				Input: op, Call: op.Call, Return: op.Return})
		}
	}
	result, info := porcupine.CheckOperationsVerbose(model, all, limit)
	switch result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return errors.New("too many possible orders to check in time")
	}
	path := filepath.Join(pictures, "history.html")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		return err
	}
	return fmt.Errorf("not linearizable, see %s", path)
}

package history

import (
	"cmp"
	"fmt"
	"slices"
)

// InOrder says whether revisions follow real time over all keys: whoever asks
// after something was answered gets no lower revision, and a write a higher
// one.
func InOrder(ops []*Op) error {
	var asked, answered []*Op
	for _, op := range ops {
		if op.Known() {
			asked = append(asked, op)
		}
	}
	answered = slices.Clone(asked)
	slices.SortFunc(asked, func(a, b *Op) int {
		return cmp.Compare(a.Call, b.Call)
	})
	slices.SortFunc(answered, func(a, b *Op) int {
		return cmp.Compare(a.Return, b.Return)
	})
	var newest *Op
	for _, op := range asked {
		for len(answered) > 0 && answered[0].Return < op.Call {
			if newest == nil || answered[0].Revision > newest.Revision {
				newest = answered[0]
			}
			answered = answered[1:]
		}
		if newest != nil && (op.Revision < newest.Revision ||
			op.Writes() && op.Revision == newest.Revision) {
			return fmt.Errorf("out of order: %v after %v", op, newest)
		}
	}
	return nil
}

// Book compares what clients were answered with what a member says has
// happened, over any number of rounds.
type Book struct {
	written map[string]*Op // by the value
	applied map[string]int64
}

// NewBook has no operations yet.
func NewBook() *Book {
	return &Book{map[string]*Op{}, map[string]int64{}}
}

// Add notes the operations of a round.
func (b *Book) Add(ops []*Op) {
	for _, op := range ops {
		if op.Value != "" {
			b.written[op.Value] = op
		}
	}
}

// Audit takes the events behind one revision up to another, as a member tells
// them, and the operations of that time. Each revision is somebody's write,
// nothing has happened twice, and all that was acknowledged is there.
func (b *Book) Audit(events []Event, after, upTo int64, ops []*Op) error {
	at := map[int64]Event{}
	next := after + 1
	for _, event := range events {
		if event.Revision != next {
			return fmt.Errorf("the history has revision %d instead of %d",
				event.Revision, next)
		}
		next++
		at[event.Revision] = event
		if err := b.occurred(event); err != nil {
			return err
		}
	}
	if next != upTo+1 {
		return fmt.Errorf("the history ends at revision %d of %d", next-1,
			upTo)
	}
	return acknowledged(at, ops)
}

func (b *Book) occurred(event Event) error {
	if event.Deleted {
		return nil
	}
	op := b.written[event.Value]
	if op == nil || op.Key != event.Key {
		return fmt.Errorf("nobody wrote %+v", event)
	}
	if known := b.applied[event.Value]; known != 0 && known != event.Revision {
		return fmt.Errorf("happened twice, at revision %d and %d: %v", known,
			event.Revision, op)
	}
	if op.Known() && !op.Writes() {
		return fmt.Errorf("happened at revision %d, though it was answered"+
			" that it doesn't: %v", event.Revision, op)
	}
	b.applied[event.Value] = event.Revision
	return nil
}

func acknowledged(at map[int64]Event, ops []*Op) error {
	owners := map[int64]*Op{}
	for _, op := range ops {
		if !op.Known() || !op.Writes() {
			continue
		}
		if other := owners[op.Revision]; other != nil {
			return fmt.Errorf("one revision twice: %v, %v", other, op)
		}
		owners[op.Revision] = op
		want := Event{op.Revision, op.Key, op.Value, op.Kind == Delete}
		if got, ok := at[op.Revision]; !ok {
			return fmt.Errorf("lost: %v", op)
		} else if got != want {
			return fmt.Errorf("lost: %v; the history has %+v", op, got)
		}
	}
	return nil
}

// Shown compares what a watcher was shown with the history from where it
// began: all of it, in order, up to somewhere.
func Shown(events []Event, shown []Event) error {
	for i, event := range shown {
		if i >= len(events) {
			return fmt.Errorf("a watcher was shown %+v, which isn't in the"+
				" history", event)
		}
		if event != events[i] {
			return fmt.Errorf("a watcher was shown %+v, the history has %+v",
				event, events[i])
		}
	}
	return nil
}

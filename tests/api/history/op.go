// Package history records what clients ask of a cluster and what they are
// answered, and finds out whether one correct store could have answered so.
package history

import (
	"fmt"
	"math"
)

// Kind is what an operation asks for.
type Kind int

const (
	Get    Kind = iota // linearizable
	Put                // key to value
	Delete             // the key
	Swap               // if the key's value is Old, put Value; else get
	Create             // if there is no such key, put Value; else get
)

func (k Kind) String() string {
	return [...]string{"get", "put", "delete", "swap", "create"}[k]
}

// Never is when an operation returns of which nothing was heard.
const Never = int64(math.MaxInt64)

// Found is a key as it was read.
type Found struct {
	Value                string
	Create, Mod, Version int64
}

// Op is one operation. Every value that is written is another one.
type Op struct {
	Client     int
	Kind       Kind
	Key        string
	Value, Old string
	// From and to when it was under way, in nanoseconds. What was not
	// answered may have happened, may happen later, or never.
	Call, Return int64

	// The answer, if there was one.
	Revision int64  // of the whole store, when it was carried out
	Done     bool   // Swap, Create: the condition held. Delete: it was there
	Found    *Found // what Get, or the other two otherwise, read; nil: no key
}

// Known says whether it was answered.
func (op *Op) Known() bool { return op.Return != Never }

// Writes says whether an operation that was answered has changed the store.
func (op *Op) Writes() bool {
	return op.Kind == Put || op.Kind != Get && op.Done
}

func (op *Op) String() string {
	text := fmt.Sprintf("client %d %s %s", op.Client, op.Kind, op.Key)
	if op.Old != "" {
		text += " " + op.Old
	}
	if op.Value != "" {
		text += " " + op.Value
	}
	if !op.Known() {
		return text + ": not answered"
	}
	text += fmt.Sprintf(": revision %d, %v", op.Revision, op.Done)
	if op.Found != nil {
		text += fmt.Sprintf(", %+v", *op.Found)
	}
	return text
}

// Event is a change of one key as a watcher is shown it; Deleted keys have no
// value.
type Event struct {
	Revision int64
	Key      string
	Value    string
	Deleted  bool
}

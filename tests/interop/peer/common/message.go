// Package common tests chorad's transport between members against etcd's,
// whatever the version of that: what differs between versions is behind Etcd.
package common

import (
	"encoding/hex"
	"fmt"
	"math/rand"
	"strconv"
	"strings"
)

// Message is a raftpb.Message without a snapshot.
type Message struct {
	Type, To, From, Term, LogTerm, Index, Commit, RejectHint uint64
	Reject                                                   bool
	Context                                                  []byte
	Entries                                                  []Entry
}

// Entry is a raftpb.Entry.
type Entry struct {
	Term, Index, Type uint64
	Data              []byte
}

// Types of raftpb that the tests name.
const (
	MsgProp          = 2
	MsgApp           = 3
	MsgAppResp       = 4
	MsgSnap          = 7
	MsgHeartbeatResp = 9
	MsgReadIndex     = 15
)

// wireTypes are those that members send each other, snapshots aside.
var wireTypes = []uint64{2, 3, 4, 5, 6, 8, 9, 13, 14, 15, 16, 17, 18, 23}

// String is how peer_chorad reads and prints it.
func (m Message) String() string {
	reject := 0
	if m.Reject {
		reject = 1
	}
	context := "-"
	if len(m.Context) > 0 {
		context = hex.EncodeToString(m.Context)
	}
	entries := make([]string, len(m.Entries))
	for i, e := range m.Entries {
		entries[i] = fmt.Sprintf("%x/%x/%x/%x", e.Term, e.Index, e.Type, e.Data)
	}
	list := strings.Join(entries, ",")
	if list == "" {
		list = "-"
	}
	return fmt.Sprintf("%x %x %x %x %x %x %x %d %x %s %s", m.Type, m.To, m.From, m.Term,
		m.LogTerm, m.Index, m.Commit, reject, m.RejectHint, context, list)
}

// randomMessage is one of that type as a member could send it.
func randomMessage(rnd *rand.Rand, typ, from, to uint64) Message {
	m := Message{
		Type: typ, To: to, From: from, Term: 5, LogTerm: uint64(rnd.Intn(5)),
		Index: uint64(rnd.Intn(1000)), Commit: uint64(rnd.Intn(1000)),
		RejectHint: uint64(rnd.Intn(3)), Reject: rnd.Intn(2) == 0,
	}
	if rnd.Intn(2) == 0 {
		m.Context = randomBytes(rnd, 1+rnd.Intn(20))
	}
	if typ == MsgApp || typ == MsgProp || typ == MsgReadIndex {
		for i := range rnd.Intn(4) {
			m.Entries = append(m.Entries, Entry{
				Term: 5, Index: m.Index + uint64(i) + 1, Type: uint64(rnd.Intn(3)),
				Data: randomBytes(rnd, rnd.Intn(5000)),
			})
		}
	}
	return m
}

// appends are what a leader sends: some follow each other in the same term, so
// that msgappv2 shortens them, some don't.
func appends(rnd *rand.Rand, from, to uint64, n int) []Message {
	term, index := uint64(5), uint64(0)
	var all []Message
	for range n {
		if rnd.Intn(10) == 0 {
			term++
		}
		m := Message{Type: MsgApp, To: to, From: from, Term: term, LogTerm: term, Index: index,
			Commit: index / 2}
		if rnd.Intn(10) == 0 {
			m.LogTerm--
		}
		for range rnd.Intn(5) {
			index++
			m.Entries = append(m.Entries, Entry{Term: term, Index: index,
				Data: randomBytes(rnd, rnd.Intn(3000))})
		}
		all = append(all, m)
	}
	return all
}

func randomBytes(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	rnd.Read(b)
	return b
}

func unhex(s string) uint64 {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// What etcd's interval tree and Go's sort package decide about permissions,
// beside what chorad's do: the same on every input, odd ones included, because
// members of one cluster have to decide alike.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sort"
	"strings"

	"go.etcd.io/etcd/pkg/v3/adt"
)

// peer is chorad's side. Lines are written ahead of the answers.
type peer struct {
	in     *bufio.Writer
	out    *bufio.Scanner
	wanted []string
	told   []string
}

func (p *peer) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	p.told = append(p.told, line)
	fmt.Fprintln(p.in, line)
}

func (p *peer) ask(want string, format string, args ...any) {
	p.say(format, args...)
	p.wanted = append(p.wanted, want)
}

// settle reads the answers to one case.
func (p *peer) settle() {
	p.say("clear")
	p.in.Flush()
	for _, want := range p.wanted {
		if !p.out.Scan() || p.out.Text() != want {
			fmt.Fprintf(os.Stderr, "%s\nchorad says %q, etcd %q\n",
				strings.Join(p.told, "\n"), p.out.Text(), want)
			os.Exit(1)
		}
	}
	p.wanted, p.told = nil, nil
}

func text(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return hex.EncodeToString(b)
}

func verdict(yes bool) string {
	if yes {
		return "1"
	}
	return "0"
}

func key(rng *rand.Rand, letters int) []byte {
	out := make([]byte, 1+rng.IntN(2))
	for i := range out {
		out[i] = byte('a' + rng.IntN(letters))
	}
	return out
}

// end gives the end of a granted range: a point, a prefix, a far one, none.
func end(rng *rand.Rand, begin []byte, letters int) []byte {
	out := bytes.Clone(begin)
	switch rng.IntN(8) {
	case 0, 1, 2:
		return append(out, 0)
	case 3, 4:
		out[len(out)-1]++
		return out
	case 5, 6:
		out[0] += byte(1 + rng.IntN(letters))
		return out
	}
	if rng.IntN(6) == 0 {
		return nil
	}
	return append(out, 'c')
}

func intervals(p *peer, rng *rand.Rand, most int) {
	letters := 2 + rng.IntN(20)
	tree := adt.NewIntervalTree()
	for range rng.IntN(most) {
		begin := key(rng, letters)
		e := end(rng, begin, letters)
		tree.Insert(adt.NewBytesAffineInterval(begin, e), struct{}{})
		p.say("add %s %s", text(begin), text(e))
	}
	for range 60 {
		k := key(rng, letters)
		p.ask(verdict(tree.Intersects(adt.NewBytesAffinePoint(k))),
			"hit %s", text(k))
		// The end as often before the key as behind it.
		e := key(rng, letters)
		if rng.IntN(12) == 0 {
			e = nil
		}
		p.ask(verdict(tree.Contains(adt.NewBytesAffineInterval(k, e))),
			"cover %s %s", text(k), text(e))
	}
	p.settle()
}

type perm struct {
	key  []byte
	name int
}

type byKey []perm

func (s byKey) Len() int           { return len(s) }
func (s byKey) Less(i, j int) bool { return bytes.Compare(s[i].key, s[j].key) < 0 }
func (s byKey) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

// orders grants one permission after the other, as etcd does: appended, then
// all sorted. Sometimes many come at once, in any order.
func orders(p *peer, rng *rand.Rand, most int) {
	letters := 1 + rng.IntN(12)
	var perms []perm
	for i := range 1 + rng.IntN(most) {
		k := key(rng, letters)
		perms = append(perms, perm{k, i})
		p.say("perm %s %d", text(k), i)
		if rng.IntN(8) == 0 {
			continue
		}
		sort.Sort(byKey(perms))
		var names []string
		for _, s := range perms {
			names = append(names, fmt.Sprint(s.name))
		}
		p.ask(strings.Join(names, " "), "order")
	}
	p.settle()
}

func main() {
	seed := flag.Uint64("seed", 1, "seed")
	cases := flag.Int("cases", 2000, "cases of each kind")
	flag.Parse()
	rng := rand.New(rand.NewPCG(*seed, 0))
	cmd := exec.Command(flag.Arg(0))
	in, err := cmd.StdinPipe()
	if err != nil {
		panic(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	p := &peer{in: bufio.NewWriterSize(in, 1<<20),
		out: bufio.NewScanner(out)}
	p.out.Buffer(nil, 1<<20)
	for i := range *cases {
		intervals(p, rng, 4+i%200)
		orders(p, rng, 4+i%120)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		panic(err)
	}
}

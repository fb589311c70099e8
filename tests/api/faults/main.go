// Command faults lets faults happen to clusters of three real processes under
// a recorded load, and finds out whether anything was lost or went wrong. See
// scripts/faults.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"chorad.tests/api/harness"
	"chorad.tests/api/history"
)

// config is what the command line says.
type config struct {
	rounds   int
	seed     uint64
	jobs     int
	evidence string
	library  string
	names    []string
}

func main() {
	c := &config{}
	short := flag.Bool("short", false, "only those of scripts/test, two rounds")
	list := flag.Bool("list", false, "name the faults")
	flag.IntVar(&c.rounds, "rounds", 30, "rounds of each")
	flag.Uint64Var(&c.seed, "seed", 0, "seed of all that is random, 0: chosen")
	flag.IntVar(&c.jobs, "jobs", 2, "clusters at a time")
	flag.StringVar(&c.evidence, "evidence", "",
		"where logs and the histories of failed rounds go")
	flag.StringVar(&c.library, "library", "",
		"directory of libfaultio.so and libfaultclock.so")
	flag.Parse()
	if *list {
		for _, f := range faults {
			fmt.Printf("%-18s %s\n", f.name, f.what)
		}
		return
	}
	c.names = flag.Args()
	if *short {
		c.rounds, c.names = 2, shortSet
	}
	os.Exit(start(c))
}

func start(c *config) int {
	chosen, err := choose(c.names)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if os.Getenv(insideVar) == "" {
		code, err := enclose()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt,
		syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if c.seed == 0 {
		c.seed = rand.Uint64() >> 32
	}
	fmt.Printf("seed %d\n", c.seed)
	return runAll(ctx, c, chosen)
}

func choose(names []string) ([]*fault, error) {
	if len(names) == 0 {
		return faults, nil
	}
	var chosen []*fault
	for _, name := range names {
		i := slices.IndexFunc(faults, func(f *fault) bool {
			return f.name == name
		})
		if i < 0 {
			return nil, fmt.Errorf("no such fault: %s (try --list)", name)
		}
		chosen = append(chosen, faults[i])
	}
	return chosen, nil
}

// campaign is all rounds of one fault.
type campaign struct {
	fault   *fault
	results []result
	err     error
}

func runAll(ctx context.Context, c *config, chosen []*fault) int {
	campaigns := make([]*campaign, len(chosen))
	next := make(chan int, len(chosen))
	for i, f := range chosen {
		campaigns[i] = &campaign{fault: f}
		next <- i
	}
	close(next)
	var group sync.WaitGroup
	for range c.jobs {
		group.Go(func() {
			for i := range next {
				campaigns[i].err = campaigns[i].run(ctx, c, i+1)
			}
		})
	}
	group.Wait()
	return report(campaigns)
}

func (p *campaign) run(ctx context.Context, c *config, number int) (err error) {
	var opts options
	if p.fault.options != nil {
		opts = p.fault.options(c)
	}
	evidence := filepath.Join(c.evidence, p.fault.name)
	_ = os.RemoveAll(evidence)
	l, err := newLab(number, opts)
	if err != nil {
		fmt.Printf("%s: %v\n", p.fault.name, err)
		return err
	}
	defer func() {
		l.keepLogs(evidence)
		// A sanitizer's report is in the log of a member, perhaps.
		if failed := l.close(); failed != nil {
			fmt.Printf("%s: FAILED: %v\n", p.fault.name, failed)
			err = errors.Join(err, failed)
		}
	}()
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(p.fault.name))
	rng := rand.New(rand.NewPCG(c.seed, seed.Sum64()))
	book := history.NewBook()
	for n := 1; n <= c.rounds; n++ {
		r := &round{lab: l, fault: p.fault, number: n, seed: c.seed, rng: rng,
			hold: between(rng, 1500*time.Millisecond, 4*time.Second)}
		err := guard(func() error { return r.run(ctx, book, evidence) })
		if err != nil {
			fmt.Printf("%s %d/%d: FAILED: %v\n", p.fault.name, n, c.rounds,
				err)
			return fmt.Errorf("round %d: %w", n, err)
		}
		fmt.Printf("%s %d/%d: %v\n", p.fault.name, n, c.rounds, r.result)
		p.results = append(p.results, r.result)
	}
	return nil
}

func (r result) String() string {
	text := fmt.Sprintf("%d writes acknowledged, %d unknown", r.acknowledged,
		r.unknown)
	if r.without >= 0 {
		text += fmt.Sprintf(", a leader without after %s", seconds(r.without))
	}
	text += fmt.Sprintf(", one of all %s after its end, a write %s",
		seconds(r.again), seconds(r.write))
	if r.note != "" {
		text += ", " + r.note
	}
	return text
}

func seconds(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// spread is the median and the maximum of what applies.
func spread(results []result, of func(result) time.Duration) (median,
	most time.Duration) {
	var all []time.Duration
	for _, r := range results {
		if d := of(r); d >= 0 {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return -1, -1
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1]
}

// target is within what time after a fault there is a leader again, in the
// median, where nothing shorter is said.
const target = 3 * time.Second

// report prints the table and gives the exit code.
func report(campaigns []*campaign) int {
	code := 0
	fmt.Printf("\n| fault | rounds | writes acknowledged | unknown |"+
		" leader without the lost | leader after the end |"+
		" write after the end | verdict |\n|%s\n",
		strings.Repeat("---|", 8))
	for _, p := range campaigns {
		acknowledged, unknown := 0, 0
		for _, r := range p.results {
			acknowledged += r.acknowledged
			unknown += r.unknown
		}
		verdict := "ok"
		var cells []string
		for _, of := range []func(result) time.Duration{
			func(r result) time.Duration { return r.without },
			func(r result) time.Duration { return r.again },
			func(r result) time.Duration { return r.write },
		} {
			median, most := spread(p.results, of)
			if median > p.fault.limit()*time.Duration(harness.Slack()) {
				verdict = "FAILED: too late"
			}
			cell := seconds(median)
			if most >= 0 {
				cell += ", at most " + seconds(most)
			}
			cells = append(cells, cell)
		}
		if p.err != nil {
			verdict = "FAILED: " + strings.SplitN(p.err.Error(), "\n", 2)[0]
		}
		if verdict != "ok" {
			code = 1
		}
		fmt.Printf("| %s | %d | %d | %d | %s | %s |\n", p.fault.name,
			len(p.results), acknowledged, unknown,
			strings.Join(cells, " | "), verdict)
	}
	return code
}

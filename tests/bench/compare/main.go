// Command bench measures chorad beside the real etcd. scripts/bench builds
// what it needs and runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type bench struct {
	root, tools, dir string
	chorad           string
	reps             int
	only             []string
	works            []work
	notes            map[string]string // by program and what it is about
	others           samples           // of chorad, measured in a run of etcd
	began            time.Time

	puts, ranges, txns   int
	lonePuts, loneRanges int
	watchers, watchPuts  int
	idleWatchers         int
	keys                 int
	steadyRate           int
	failovers            int
	loginFor             time.Duration
	steadyFor            time.Duration
}

func (b *bench) tool(name string) string {
	return filepath.Join(b.tools, name)
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(b.began).Seconds(),
		fmt.Sprintf(format, args...))
}

// note is printed above the table; the last one about a thing stays.
func (b *bench) note(program, about, text string) {
	b.notes[about+" "+program] = program + " " + text
	b.say("%s %s", program, text)
}

// wants says whether a work or a group has been asked for.
func (b *bench) wants(names ...string) bool {
	if len(b.only) == 0 {
		return true
	}
	for _, name := range names {
		if slices.Contains(b.only, name) {
			return true
		}
	}
	return false
}

func (b *bench) sizes(short bool) {
	b.puts, b.ranges, b.txns = 60000, 80000, 40000
	b.lonePuts, b.loneRanges = 6000, 15000
	b.watchers, b.watchPuts, b.idleWatchers = 10000, 60, 90000
	b.keys, b.steadyRate, b.steadyFor = 1000000, 1000, 10*time.Second
	b.failovers, b.loginFor = 10, 8*time.Second
	if short {
		b.failovers, b.loginFor = 3, 4*time.Second
		b.puts, b.ranges, b.txns = 20000, 30000, 15000
		b.lonePuts, b.loneRanges = 800, 4000
		b.watchPuts, b.idleWatchers = 20, 30000
		b.keys, b.steadyFor = 200000, 4*time.Second
	}
}

// once runs a work on a fresh server of one program.
func (b *bench) once(ctx context.Context, w work, program string) (samples,
	error) {
	binary := b.chorad
	if program == "etcd" {
		binary = b.tool("etcd")
	}
	var all []*server
	for i := range max(w.members, 1) {
		dir, err := os.MkdirTemp(b.dir, program+"-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		all = append(all, &server{program: program, binary: binary, dir: dir,
			name: fmt.Sprintf("m%d", i)})
	}
	s := all[0]
	s.others = all[1:]
	defer s.stop()
	if _, err := s.start(ctx); err != nil {
		return nil, err
	}
	out, err := w.run(ctx, b, s)
	if err != nil && ctx.Err() == nil {
		if dead := s.alive(); dead != nil {
			err = fmt.Errorf("%w; %w", err, dead)
		}
	}
	return out, err
}

// run interleaves the two programs, the one that begins taking turns.
func (b *bench) run(ctx context.Context) (results, map[string]string) {
	all := results{}
	failures := map[string]string{}
	for _, w := range b.works {
		reps := b.reps
		if w.once {
			reps = 1
		}
		for rep := range reps {
			programs := []string{"chorad", "etcd"}
			if rep%2 == 1 {
				slices.Reverse(programs)
			}
			for _, program := range programs {
				out, err := b.once(ctx, w, program)
				if ctx.Err() != nil {
					return all, failures
				}
				if err != nil {
					failures[w.name+" "+program] = err.Error()
					b.say("%s %s FAILED: %v", w.name, program, err)
				}
				b.keep(all, w, program, rep, out)
				b.keep(all, w, "chorad", rep, b.others)
				b.others = nil
			}
		}
	}
	return all, failures
}

func (b *bench) keep(all results, w work, program string, rep int,
	out samples) {
	for _, r := range w.rows {
		s, ok := out[r.name]
		if !ok || (s.rate == 0 && s.value == 0) {
			continue
		}
		if all[r.name] == nil {
			all[r.name] = map[string][]sample{}
		}
		all[r.name][program] = append(all[r.name][program], s)
		b.say("%-10s %-6s %d: %10s  p50/95/99 %s ms  cpu %s us", r.name,
			program, rep+1, rateCell(r, s), latencyCell(s), number(s.cpu))
	}
}

func (b *bench) report(all results, failures map[string]string,
	share float64) string {
	var t strings.Builder
	for _, line := range b.machine() {
		fmt.Fprintf(&t, "- %s\n", line)
	}
	fmt.Fprintf(&t, "- %s; %d repetitions, medians; the load generators run "+
		"on the same cores; other programs took %.0f %% of the CPU time\n",
		b.began.UTC().Format("2006-01-02"), b.reps, share*100)
	for _, about := range slices.Sorted(maps.Keys(b.notes)) {
		fmt.Fprintf(&t, "- %s\n", b.notes[about])
	}
	fmt.Fprintf(&t, "\n%s", b.table(all, failures))
	return t.String()
}

const (
	beginMark = "<!-- measured: begin -->\n"
	endMark   = "<!-- measured: end -->\n"
)

// write puts the report between the marks in the document.
func write(path, report string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), beginMark)
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no marks to write between", path)
	}
	return os.WriteFile(path, []byte(head+beginMark+"\n"+report+"\n"+endMark+
		tail), 0o644)
}

func main() {
	b := &bench{notes: map[string]string{}, began: time.Now()}
	var only, document, parent string
	var short bool
	var failovers int
	flag.StringVar(&b.root, "root", ".", "the repository")
	flag.StringVar(&b.chorad, "chorad", "", "chorad's binary")
	flag.StringVar(&b.tools, "tools", "", "where etcd and benchmark are")
	flag.StringVar(&parent, "dir", os.TempDir(), "where data goes")
	flag.StringVar(&only, "only", "", "works or groups, with commas between")
	flag.StringVar(&document, "write", "", "document to write the table to")
	flag.IntVar(&b.reps, "reps", 3, "repetitions")
	flag.IntVar(&failovers, "failovers", 0, "how often a leader is killed")
	flag.BoolVar(&short, "short", false, "a short, rough run")
	flag.Parse()
	b.sizes(short)
	if failovers > 0 {
		b.failovers = failovers
	}
	if only != "" {
		b.only = strings.Split(only, ",")
	}
	for _, w := range works() {
		if w.asked && only == "" {
			continue
		}
		if b.wants(w.name, w.group) || (w.name == "keys" &&
			b.wants("defrag", "snapshot")) {
			b.works = append(b.works, w)
		}
	}
	os.Exit(b.main(parent, document))
}

func (b *bench) main(parent, document string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt,
		syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp(parent, "chorad-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	before := busyNow()
	all, failures := b.run(ctx)
	report := b.report(all, failures, others(before, busyNow()))
	fmt.Print(report)
	for what, reason := range failures {
		fmt.Fprintf(os.Stderr, "failed: %s: %s\n", what, reason)
	}
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "stopped")
		return 1
	}
	if document != "" {
		if err := write(document, report); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
	}
	if len(failures) > 0 {
		return 1
	}
	return 0
}

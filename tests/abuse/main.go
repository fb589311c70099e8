// Command abuse attacks a server in all the ways that its client port has to
// withstand, while honest clients go on, and says what becomes of both. See
// docs/security.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// options is what the command line says.
type options struct {
	server   string
	kind     string
	dir      string
	only     string
	seconds  float64
	quick    bool
	relaxed  float64
	tries    int
	p99MS    int
	peakMB   int64
	keptMB   int64
	fillMB   int
	frames   int
	bytes    int
	watchers int
	list     bool
	verbose  bool
}

func (o *options) time() time.Duration {
	if o.quick && o.seconds == 3 {
		return time.Second
	}
	return time.Duration(o.seconds * float64(time.Second))
}

// warm is how long honest clients work before an attack, so that the server has
// what it needs for them.
func (o *options) warm() time.Duration {
	if o.quick {
		return 400 * time.Millisecond
	}
	return time.Second
}

func (o *options) storeMB() int {
	if o.quick && o.fillMB == 300 {
		return 30
	}
	return o.fillMB
}

func parse() (*options, error) {
	o := &options{}
	flag.StringVar(&o.server, "server", "", "the server's binary")
	flag.StringVar(&o.kind, "kind", "chorad",
		"what it is called in the table: chorad or etcd")
	flag.StringVar(&o.dir, "dir", defaultDir(), "where servers keep their data")
	flag.StringVar(&o.only, "only", "",
		"a regular expression: attacks, or parts of the honest section")
	flag.Float64Var(&o.seconds, "seconds", 3, "how long each attack goes on")
	flag.BoolVar(&o.quick, "quick", false,
		"a second each, and less of everything")
	flag.Float64Var(&o.relaxed, "relaxed", 1,
		"the limits of time are so many times as wide")
	flag.IntVar(&o.tries, "tries", 1,
		"play an attack so often if it fails by nothing but times")
	flag.IntVar(&o.p99MS, "p99", 100, "limit of honest requests' p99, in ms")
	flag.Int64Var(&o.peakMB, "peak", 64, "limit of the memory's growth, in MB")
	flag.Int64Var(&o.keptMB, "kept", 16, "of it, 10 s after, in MB")
	flag.IntVar(&o.fillMB, "fill", 300, "what unread ranges read, in MB")
	flag.IntVar(&o.frames, "frames", 60000,
		"what attackers send at most: frames in a second")
	flag.IntVar(&o.bytes, "bytes", 16<<20, "and bytes")
	flag.IntVar(&o.watchers, "watchers", 10000,
		"honest watchers on a connection, up to 100000")
	flag.BoolVar(&o.list, "list", false, "name the attacks")
	flag.BoolVar(&o.verbose, "v", false, "show the log of a server that failed")
	flag.Parse()
	if _, err := regexp.Compile(o.only); err != nil {
		return nil, err
	}
	if o.server == "" && !o.list {
		return nil, errors.New("--server names the server's binary")
	}
	if o.kind != "chorad" && o.kind != "etcd" {
		return nil, errors.New("--kind is chorad or etcd")
	}
	return o, nil
}

// defaultDir is in memory where that can be: the disk isn't what is tested.
func defaultDir() string {
	if i, err := os.Stat("/dev/shm"); err == nil && i.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

func attacks() []attack {
	return slices.Concat(noAttack, resetAttacks, headerAttacks, floodAttacks,
		streamAttacks, windowAttacks, slowAttacks, violationAttacks,
		http1Attacks)
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "attack" {
		if err := attackMain(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	o, err := parse()
	if err != nil {
		fmt.Fprintln(os.Stderr, "abuse:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt,
		syscall.SIGTERM)
	defer stop()
	failed, err := o.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "abuse:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// run plays what was asked for, and says whether anything failed.
func (o *options) run(ctx context.Context) (bool, error) {
	wanted := regexp.MustCompile(o.only)
	if o.list {
		for _, a := range attacks() {
			fmt.Println(a.name)
		}
		for _, h := range honestParts {
			fmt.Println(h.name)
		}
		return false, nil
	}
	attacked, failed, err := o.runAttacks(ctx, wanted)
	if err != nil {
		return true, err
	}
	heavy, unserved, err := o.runHonest(ctx, wanted)
	if err != nil {
		return true, err
	}
	if attacked+heavy == 0 {
		return true, fmt.Errorf("nothing is called %q", o.only)
	}
	fmt.Printf("\n%d attacks, %d failed; %d heavy clients, %d failed\n",
		attacked, failed, heavy, unserved)
	return failed+unserved > 0, nil
}

func (o *options) runAttacks(ctx context.Context, wanted *regexp.Regexp) (n,
	failed int, err error) {
	for _, a := range attacks() {
		if !wanted.MatchString(a.name) {
			continue
		}
		if n == 0 {
			fmt.Printf("%v each; attackers: a process with one processor, "+
				"nice 10, at most %d frames and %.0f MB a second.\n\n%s\n",
				o.time(), o.frames, mb(int64(o.bytes)), tableHead)
		}
		n++
		found, err := o.playAndJudge(ctx, a)
		if err != nil {
			return n, failed, fmt.Errorf("%s: %w", a.name, err)
		}
		if len(found) > 0 {
			failed++
		}
	}
	return n, failed, nil
}

// playAndJudge prints a row for each try. Times alone may be the machine's
// fault, so that another try is worth it; the last one counts.
func (o *options) playAndJudge(ctx context.Context, a attack) ([]string, error) {
	timeless := o.limits()
	timeless.put99, timeless.visit = time.Hour, time.Hour
	for try := 1; ; try++ {
		r, err := o.play(ctx, a)
		if err != nil {
			return nil, err
		}
		found := o.faults(&r)
		fmt.Println(r.row(found))
		if len(found) == 0 || try >= o.tries || len(timeless.faults(&r)) > 0 {
			return found, nil
		}
	}
}

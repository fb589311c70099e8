// Command kubeload does to three members what API servers of Kubernetes do to
// their etcd, and says how well the members kept up: late heartbeats, changes
// of the leader, and how long the turns of chorad's loop took.
//
//	cd tests/api && go run ./kubeload -for 60s ../../build/chorad etcd ...
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var (
	lasting = flag.Duration("for", 60*time.Second, "how long")
	objects = flag.Int("objects", 10000, "how many")
	size    = flag.Int("size", 2048, "bytes of each")
	rounds  = flag.Int("rounds", 1, "of all the programs, in turns")
	keep    = flag.String("keep", "", "keep the members' logs there")
)

func page(url string) []string {
	answer, err := http.Get(url + "/metrics")
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	var lines []string
	in := bufio.NewScanner(answer.Body)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	return lines
}

// scrape asks for the metrics as Prometheus would.
func scrape(ctx context.Context, c cluster) {
	for ctx.Err() == nil {
		for _, m := range c {
			answer, err := http.Get(m.client + "/metrics")
			if err == nil {
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
		}
		time.Sleep(5 * time.Second)
	}
}

func sum(c cluster, name string) (all float64) {
	for _, m := range c {
		for _, line := range page(m.client) {
			var v float64
			if rest, ok := strings.CutPrefix(line, name+" "); ok {
				if _, err := fmt.Sscan(rest, &v); err == nil {
					all += v
				}
			}
		}
	}
	return all
}

var turns = regexp.MustCompile(`^chorad_loop_(turn_seconds_(bucket|count)|` +
	`longest|long_turns_total.* [1-9])`)

func measure(ctx context.Context, binary string, round int) error {
	dir, err := os.MkdirTemp("", "kubeload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := place(dir, 3)
	if err != nil {
		return err
	}
	defer c.stop()
	if err = c.start(binary); err != nil {
		return err
	}
	l := &load{objects: *objects, size: *size}
	for _, m := range c {
		client, err := m.dial()
		if err != nil {
			return err
		}
		defer client.Close()
		l.clients = append(l.clients, client)
	}
	if err = l.fill(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go scrape(ctx, c)
	l.run(ctx, *lasting)
	fmt.Printf("| %s | %d | %.0f | %d | %.1f / %.1f / %.1f | %d | %d | %d | %d "+
		"| %.0f |\n", filepath.Base(binary), round+1,
		float64(len(l.updates))/lasting.Seconds(), l.failed.Load(),
		ms(l.percentile(.5)), ms(l.percentile(.99)), ms(l.percentile(1)),
		l.lists.Load(), l.events.Load(),
		len(c.said("failed to send out heartbeat on time")),
		len(c.said("the loop was held up")),
		sum(c, "etcd_server_leader_changes_seen_total"))
	for i, m := range c {
		for _, line := range page(m.client) {
			if turns.MatchString(line) {
				fmt.Fprintf(os.Stderr, "m%d %s\n", i, line)
			}
		}
		if *keep != "" {
			log, _ := os.ReadFile(m.log())
			_ = os.WriteFile(filepath.Join(*keep, fmt.Sprintf("%s-%d-m%d.log",
				filepath.Base(binary), round, i)), log, 0o600)
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func main() {
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "name the programs to measure")
		os.Exit(2)
	}
	fmt.Println("| program | round | updates/s | failed | p50 / p99 / max ms | " +
		"lists | events | late heartbeats | long turns | leaders seen |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for round := range *rounds {
		for _, binary := range flag.Args() {
			if err := measure(context.Background(), binary, round); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", binary, err)
				os.Exit(1)
			}
		}
	}
}

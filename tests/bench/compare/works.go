package main

import (
	"context"
)

// sample is what one run of one work on one program gave. Works that aren't
// a load have a value in the unit of their row.
type sample struct {
	rate   float64 // requests per second
	p      [3]float64
	cpu    float64 // server's microseconds per request
	value  float64
	failed int
}

// samples are named by rows.
type samples map[string]sample

// aim is what design asks of chorad, compared with etcd.
type aim struct {
	of      string // "cpu", "rate", "p50", "value", or "p99" of another row
	atMost  float64
	atLeast float64
	bytes   float64 // at most, of chorad's value alone
	row     string  // with "p99": chorad's own row to compare with
}

type row struct {
	name  string
	title string
	unit  string // of value; empty for a load
	aims  []aim
}

// work is run on a fresh server, once for each repetition or only once.
type work struct {
	name  string
	group string
	once  bool
	asked bool // not without being named
	rows  []row
	// Of the cluster, where it isn't one.
	members int
	run     func(context.Context, *bench, *server) (samples, error)
}

func cpuAtMost(x float64) aim   { return aim{of: "cpu", atMost: x} }
func rateAtLeast(x float64) aim { return aim{of: "rate", atLeast: x} }

// sized are the flags for keys and values.
func sized(b *bench) []string {
	return []string{"--key-size=32", "--val-size=256",
		"--key-space-size=1000000"}
}

func benchWork(name, title string, aims []aim, f func(context.Context, *bench,
	*server) (sample, error)) work {
	return work{name: name, group: "load", rows: []row{{name: name,
		title: title, aims: aims}},
		run: func(ctx context.Context, b *bench, s *server) (samples, error) {
			// Reads have something to find, among other keys.
			if _, err := load(ctx, s.addr, 0, 10000, valueSize); err != nil {
				return nil, err
			}
			out, err := f(ctx, b, s)
			return samples{name: out}, err
		}}
}

func works() []work {
	crowd := "`benchmark`, 100 connections, 1000 clients: "
	alone := "`benchmark`, 1 connection, 1 client: "
	streams := "`h2load`, 100 connections x 10 streams: "
	rangeKey := string(key(0))
	return append([]work{
		benchWork("put", crowd+"put", []aim{cpuAtMost(0.35)},
			func(ctx context.Context, b *bench, s *server) (sample, error) {
				return benchmark(ctx, b, s, 100, 1000, b.puts,
					append([]string{"put"}, sized(b)...)...)
			}),
		benchWork("range-l", crowd+"range, linearizable",
			[]aim{cpuAtMost(0.35)},
			func(ctx context.Context, b *bench, s *server) (sample, error) {
				return benchmark(ctx, b, s, 100, 1000, b.ranges, "range",
					rangeKey, "--consistency=l")
			}),
		benchWork("range-s", crowd+"range, serializable",
			[]aim{cpuAtMost(0.4)},
			func(ctx context.Context, b *bench, s *server) (sample, error) {
				return benchmark(ctx, b, s, 100, 1000, b.ranges, "range",
					rangeKey, "--consistency=s")
			}),
		benchWork("txn", crowd+"txn-mixed, a put or a range of 10 keys "+
			"(latency of the puts)", nil,
			func(ctx context.Context, b *bench, s *server) (sample, error) {
				return benchmark(ctx, b, s, 100, 1000, b.txns,
					append([]string{"txn-mixed", "--limit=10"},
						sized(b)...)...)
			}),
		benchWork("put-1", alone+"put", []aim{{of: "p50", atMost: 0.7}},
			func(ctx context.Context, b *bench, s *server) (sample, error) {
				return benchmark(ctx, b, s, 1, 1, b.lonePuts,
					append([]string{"put"}, sized(b)...)...)
			}),
		benchWork("range-1", alone+"range, linearizable",
			[]aim{{of: "p50", atMost: 0.7}},
			func(ctx context.Context, b *bench, s *server) (sample, error) {
				return benchmark(ctx, b, s, 1, 1, b.loneRanges, "range",
					rangeKey, "--consistency=l")
			}),
		benchWork("h2-put", streams+"put",
			[]aim{cpuAtMost(0.35), rateAtLeast(2)},
			func(ctx context.Context, b *bench, s *server) (sample, error) {
				return h2load(ctx, s, pathPut,
					putRequest(nil, key(0), value(valueSize)), b.puts*2)
			}),
		benchWork("h2-range-l", streams+"range, linearizable",
			[]aim{cpuAtMost(0.35), rateAtLeast(2)},
			func(ctx context.Context, b *bench, s *server) (sample, error) {
				return h2load(ctx, s, pathRange, rangeRequest(key(0), false),
					b.ranges*2)
			}),
		benchWork("h2-range-s", streams+"range, serializable",
			[]aim{cpuAtMost(0.4), rateAtLeast(2)},
			func(ctx context.Context, b *bench, s *server) (sample, error) {
				return h2load(ctx, s, pathRange, rangeRequest(key(0), true),
					b.ranges*2)
			}),
		{name: "watch", group: "watch", run: fanOut, rows: []row{
			{name: "events", title: "watch: events to 10,000 watchers of one " +
				"key on 100 streams", aims: []aim{rateAtLeast(3)}},
			{name: "watcher", title: "memory of an idle watcher",
				unit: "B", aims: []aim{{of: "value", bytes: 400}}},
		}},
		{name: "keys", group: "keys", once: true, run: manyKeys, rows: []row{
			{name: "memory", title: "anonymous memory, 1 M keys of 32 B with " +
				"256 B values", unit: "MB",
				aims: []aim{{of: "value", atMost: 0.3}}},
			{name: "restart", title: "restart with the same, until a " +
				"linearizable read answers", unit: "s",
				aims: []aim{{of: "value", atMost: 0.15}}},
			{name: "steady", title: "puts at a steady rate on that"},
			{name: "snapshot", title: "the same while a snapshot of it is " +
				"streamed"},
			{name: "defrag", title: "the same during a defragmentation of " +
				"400 MB of data and for 2 s after",
				aims: []aim{{of: "p99", row: "steady", atMost: 2}}},
			{name: "stream", title: "streaming that snapshot, with these " +
				"puts", unit: "MB/s"},
			{name: "takeover", title: "start on the directory that etcd " +
				"leaves: records of 1 M keys", unit: "records/s"},
		}},
	}, append(clusterWorks(), loginWorks()...)...)
}

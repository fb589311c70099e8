package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// limits are what a server under attack still has to keep. Times are wider on
// a machine that does other things besides.
type limits struct {
	put99  time.Duration
	visit  time.Duration
	peakMB int64
	keptMB int64
}

func (o *options) limits() limits {
	wide := func(ms int) time.Duration {
		return time.Duration(o.relaxed * float64(ms) * float64(time.Millisecond))
	}
	return limits{put99: wide(o.p99MS), visit: wide(1000), peakMB: o.peakMB,
		keptMB: o.keptMB}
}

// faults says what a server didn't keep; nil is a server whose doors held.
func (o *options) faults(r *result) []string { return o.limits().faults(r) }

func (l limits) faults(r *result) []string {
	var found []string
	fault := func(format string, args ...any) {
		found = append(found, fmt.Sprintf(format, args...))
	}
	switch {
	case r.attackErr != nil:
		fault("no attack: %v", r.attackErr)
	case r.tally.Bytes == 0:
		fault("no attack: nothing was sent")
	}
	switch {
	case r.stopped:
		fault("memory ran away, server ended by the test")
	case r.ended:
		fault("server ended")
	case !r.serves:
		fault("serves nobody afterwards")
	}
	if r.requestsFailed > 0 {
		fault("%d requests failed (%s)", r.requestsFailed, brief(r.why))
	}
	if r.put99 > l.put99 {
		fault("put p99")
	}
	if r.get99 > l.put99 {
		fault("get p99 %.0f ms", ms(r.get99))
	}
	if r.visitsFailed > 0 {
		fault("%d new clients failed (%s)", r.visitsFailed, brief(r.why))
	} else if r.visit > l.visit {
		fault("new client")
	}
	if mb(r.peak-r.before) > float64(l.peakMB) {
		fault("memory peak")
	}
	if !r.stopped && !r.ended && mb(r.after-r.before) > float64(l.keptMB) {
		fault("memory kept")
	}
	return append(found, r.tally.Wrong...)
}

// brief cuts a message to what a table has room for.
func brief(text string) string {
	text = strings.NewReplacer("|", "/", "\n", " ").Replace(text)
	return text[:min(len(text), 70)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func mb(bytes int64) float64     { return float64(bytes) / (1 << 20) }

const tableHead = `| attack | server | honest put p50 ms | p99 ms | max ms | slowest new client ms | memory before MB | peak +MB | after at most 10 s +MB | attacker | verdict |
|---|---|---|---|---|---|---|---|---|---|---|`

func (r *result) row(found []string) string {
	verdict := "ok"
	if len(found) > 0 {
		verdict = "**FAILED**: " + strings.Join(found, "; ")
	}
	return fmt.Sprintf(
		"| %s | %s | %.1f | %.0f | %.0f | %.0f | %.0f | %+.0f | %+.0f | %s | %s |",
		r.attack, r.server, ms(r.put50), ms(r.put99), ms(r.putMax),
		ms(r.visit), mb(r.before), mb(r.peak-r.before), mb(r.after-r.before),
		r.tally.text(), verdict)
}

// text is a summary of what the attackers did and met.
func (t *tally) text() string {
	parts := []string{fmt.Sprintf("%d conn.", t.Connections)}
	if t.Frames > 0 {
		parts = append(parts, fmt.Sprintf("%s frames", thousands(t.Frames)))
	}
	parts = append(parts, fmt.Sprintf("%.1f MB", mb(t.Bytes)))
	if t.Cut > 0 {
		parts = append(parts, fmt.Sprintf("%d cut off", t.Cut))
	}
	if t.Refused > 0 {
		parts = append(parts, fmt.Sprintf("%d refused", t.Refused))
	}
	codes := make([]string, 0, len(t.Said))
	for code := range t.Said {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	var passed []string
	for _, code := range codes {
		if name, ok := strings.CutPrefix(code, "passed "); ok {
			passed = append(passed, name)
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %s", thousands(t.Said[code]),
			code))
	}
	if len(passed) > 0 {
		parts = append(parts, "let pass: "+strings.Join(passed, " "))
	}
	parts = append(parts, fmt.Sprintf("%.1f s CPU", t.CPU))
	return strings.Join(parts, ", ")
}

func thousands(n int64) string {
	if n < 10000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%dk", n/1000)
}

package main

import (
	"fmt"
	"slices"
	"strings"
)

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 0 {
		return (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return v[len(v)/2]
}

// middle takes each number's median over the repetitions.
func middle(all []sample) (out sample) {
	of := func(f func(sample) float64) float64 {
		var v []float64
		for _, s := range all {
			v = append(v, f(s))
		}
		return median(v)
	}
	out.rate = of(func(s sample) float64 { return s.rate })
	out.cpu = of(func(s sample) float64 { return s.cpu })
	out.value = of(func(s sample) float64 { return s.value })
	for i := range out.p {
		out.p[i] = of(func(s sample) float64 { return s.p[i] })
	}
	for _, s := range all {
		out.failed += s.failed
	}
	return out
}

// number writes three significant digits, with thousands apart.
func number(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v >= 1000:
		s := fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func numbers(all []float64) string {
	var out []string
	for _, v := range all {
		out = append(out, number(v))
	}
	return strings.Join(out, ", ")
}

func rateCell(r row, s sample) string {
	if r.unit != "" {
		return number(s.value) + " " + r.unit
	}
	if s.failed > 0 {
		return fmt.Sprintf("%s, %d failed", number(s.rate), s.failed)
	}
	return number(s.rate)
}

func latencyCell(s sample) string {
	if s.p[2] == 0 {
		return "-"
	}
	return number(s.p[0]) + " / " + number(s.p[1]) + " / " + number(s.p[2])
}

// pick is the number that an aim is about.
func pick(of string, s sample) float64 {
	switch of {
	case "cpu":
		return s.cpu
	case "rate":
		return s.rate
	case "p50":
		return s.p[0]
	case "p99":
		return s.p[2]
	}
	return s.value
}

// judged is an aim with what became of it.
func judged(a aim, chorad, etcd, own sample) (text string, met bool) {
	x, y := pick(a.of, chorad), pick(a.of, etcd)
	known := x > 0 && y > 0
	switch {
	case a.row != "":
		y = pick(a.of, own)
		return fmt.Sprintf("p99 at most %g x chorad's own without it (%s)",
			a.atMost, number(x/y)), x > 0 && y > 0 && x <= a.atMost*y
	case a.bytes > 0:
		return fmt.Sprintf("at most %g B", a.bytes), x > 0 && x <= a.bytes
	case a.atLeast > 0:
		return fmt.Sprintf("%s at least %g", a.of, a.atLeast),
			known && x >= a.atLeast*y
	}
	of := a.of + " "
	if a.of == "value" {
		of = ""
	}
	return fmt.Sprintf("%sat most %g", of, a.atMost), known && x <= a.atMost*y
}

// ratios are those of all numbers that both have.
func ratios(r row, chorad, etcd sample) string {
	var out []string
	for _, of := range []string{"rate", "p50", "p99", "cpu", "value"} {
		if x, y := pick(of, chorad), pick(of, etcd); x > 0 && y > 0 {
			text := number(x / y)
			if of != "value" {
				text = of + " " + text
			}
			out = append(out, text)
		}
	}
	return strings.Join(out, ", ")
}

// results are keyed by row and program.
type results map[string]map[string][]sample

func (b *bench) table(all results, failures map[string]string) string {
	var t strings.Builder
	t.WriteString("| work | requests/s chorad | etcd | p50 / p95 / p99 ms " +
		"chorad | etcd | server CPU us/request chorad | etcd | chorad/etcd | " +
		"aim | met |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, w := range b.works {
		for _, r := range w.rows {
			if r.group(b) {
				b.line(&t, w, r, all, failures)
			}
		}
	}
	return t.String()
}

// group says whether a row has been asked for.
func (r row) group(b *bench) bool {
	switch r.name {
	case "steady":
		return b.wants("defrag", "snapshot")
	case "stream":
		return b.wants("snapshot")
	case "defrag", "snapshot":
		return b.wants(r.name)
	}
	return true
}

func (b *bench) line(t *strings.Builder, w work, r row, all results,
	failures map[string]string) {
	chorad := middle(all[r.name]["chorad"])
	etcd := middle(all[r.name]["etcd"])
	own := sample{}
	var aims, met []string
	for _, a := range r.aims {
		if a.row != "" {
			own = middle(all[a.row]["chorad"])
		}
		text, ok := judged(a, chorad, etcd, own)
		aims = append(aims, text)
		word := "**no**"
		if ok {
			word = "met"
		}
		if len(all[r.name]["chorad"]) == 0 || len(all[r.name]["etcd"]) == 0 {
			word = "not measured"
		}
		met = append(met, word)
	}
	cell := func(program string, f func(sample) string) string {
		if reason := failures[w.name+" "+program]; reason != "" &&
			len(all[r.name][program]) == 0 {
			return "failed"
		}
		return f(middle(all[r.name][program]))
	}
	rate := func(s sample) string { return rateCell(r, s) }
	cpu := func(s sample) string { return number(s.cpu) }
	fmt.Fprintf(t, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n",
		r.title, cell("chorad", rate), cell("etcd", rate),
		cell("chorad", latencyCell), cell("etcd", latencyCell),
		cell("chorad", cpu), cell("etcd", cpu), ratios(r, chorad, etcd),
		strings.Join(aims, "; "), strings.Join(met, "; "))
}

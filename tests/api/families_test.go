package api

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"chorad.tests/api/harness"
)

var writeFamilies = flag.Bool("write-families", false,
	"write testdata/families.txt from the server under test")

const familiesFile = "testdata/families.txt"

// line is how a family is written down: name, type, labels, buckets.
func (f *family) line(name string) string {
	buckets := slices.SortedFunc(func(yield func(string) bool) {
		for bound := range f.Buckets {
			if !yield(bound) {
				return
			}
		}
	}, func(a, b string) int {
		x, _ := strconv.ParseFloat(a, 64)
		y, _ := strconv.ParseFloat(b, 64)
		return cmp.Compare(x, y)
	})
	labels := names(f.Labels)
	if f.Kind == "summary" {
		// The quantiles of what was never observed are left out.
		labels = ""
	}
	return fmt.Sprintf("%s %s {%s} [%s]", name, f.Kind, labels,
		strings.Join(buckets, " "))
}

// TestFamilies compares the metrics page with the families that one member of
// etcd was seen to print: every name, its type, labels and buckets. It needs
// no etcd; the file is made by one, with CHORAD naming it and
// -write-families.
func TestFamilies(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--metrics",
		"extensive"}})
	exercise(t, s)
	for _, path := range []string{"/health", "/livez", "/readyz"} {
		fetch(t, "GET", s.ClientURL+path)
	}
	have := parseMetrics(t, fetch(t, "GET", s.ClientURL+"/metrics").Body)
	var lines []string
	for name, f := range have {
		lines = append(lines, f.line(name))
	}
	slices.Sort(lines)
	if *writeFamilies {
		text := strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(familiesFile, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(familiesFile)
	if err != nil {
		t.Fatal(err)
	}
	for want := range strings.Lines(string(text)) {
		want = strings.TrimSuffix(want, "\n")
		if slices.Contains(lines, want) {
			continue
		}
		name, _, _ := strings.Cut(want, " ")
		if f := have[name]; f != nil {
			t.Errorf("got  %s\nwant %s", f.line(name), want)
		} else {
			t.Errorf("missing: %s", want)
		}
	}
}

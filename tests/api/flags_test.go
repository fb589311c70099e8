package api

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"chorad.tests/api/harness"
)

// TestFlagsPage holds docs/flags.md to the table of flags: it lists those
// without effect, those that stop the start, and no others as such.
func TestFlagsPage(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(harness.Root(), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	page := read("docs/flags.md")
	section := func(title string) string {
		t.Helper()
		_, text, found := strings.Cut(page, "\n## "+title)
		if !found {
			t.Fatalf("the page has no section %q", title)
		}
		text, _, _ = strings.Cut(text, "\n## ")
		return text
	}
	idle := section("Settings without effect")
	stopping := section("Settings that stop the start")
	flag := regexp.MustCompile(
		`FLAG\(\s*"([^"]+)",[^;]*?\b(FULL|NOT_YET|NO_EFFECT|SILENT),`)
	flags := flag.FindAllStringSubmatch(read("src/config/flags.def"), -1)
	if len(flags) < 100 {
		t.Fatalf("only %d flags", len(flags))
	}
	for _, f := range flags {
		name, status := "`--"+f[1]+"`", f[2]
		if got := strings.Contains(idle, name); got != (status == "NO_EFFECT" ||
			status == "SILENT") {
			t.Errorf("%s is %s; said to be without effect: %v", name, status,
				got)
		}
		if got := strings.Contains(stopping, name); got !=
			(status == "NOT_YET") {
			t.Errorf("%s is %s; said to stop the start: %v", name, status, got)
		}
	}
}

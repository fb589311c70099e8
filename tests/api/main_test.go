// Package api holds the black-box tests: real clients against a server
// process. The server under test is $CHORAD, or build/chorad.
package api

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var (
	seedFlag = flag.Uint64("seed", 0, "seed of the random tests, 0: chosen")
	opsFlag  = flag.Int("ops", 4000, "operations of TestDifferential")
	skipFlag = flag.String("skip-steps", "",
		"steps of TestDifferential to leave out, by name, with commas")
	killsFlag  = flag.Int("kills", 5, "rounds of TestCluster/members_killed")
	roundsFlag = flag.Int("rounds", 50, "rounds of TestCrash")
)

func TestMain(m *testing.M) {
	flag.Parse()
	fmt.Printf("server under test: CHORAD=%q TOOLS=%q\n", os.Getenv("CHORAD"),
		os.Getenv("TOOLS"))
	os.Exit(m.Run())
}

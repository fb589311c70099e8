package api

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"sort"
	"testing"

	"chorad.tests/api/harness"
	"chorad.tests/api/lockstep"
)

// playAuth runs one seeded sequence against a fresh pair of servers.
func playAuth(t *testing.T, binary string, seed uint64, ops int,
	mutator *lockstep.Mutator, args ...string) (*lockstep.AuthPlayer, error) {
	t.Helper()
	args = append(args, "--bcrypt-cost", "4")
	tested := harness.Start(t, harness.Options{Binary: binary, Args: args,
		DataDir: filepath.Join(harness.Memory(t), "data")})
	etcd := harness.Start(t, harness.Options{Binary: harness.Tool(t, "etcd"),
		Args: args, DataDir: filepath.Join(harness.Memory(t), "data")})
	defer etcd.Kill()
	a, err := lockstep.Dial("tested", tested.Endpoint, mutator)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := lockstep.Dial("etcd", etcd.Endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	player := lockstep.NewAuthPlayer(a, b, seed)
	player.Signed = len(args) > 2
	if mutator == nil {
		player.Restart = restarts(tested, etcd)
	}
	err = player.Play(ops)
	return player, err
}

func logCounts(t *testing.T, all ...map[string]int) {
	t.Helper()
	for _, counts := range all {
		var names []string
		for name := range counts {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			t.Logf("%6d %.150s", counts[name], name)
		}
	}
}

// TestAuth plays users, roles, permissions and tokens, and requests of all
// kinds in their names, into the server and the real etcd, and finds every
// answer equal: once with simple tokens, once with signed ones, of which each
// side is shown the other's.
func TestAuth(t *testing.T) {
	s := seed()
	t.Logf("seed %d; replay: -run TestAuth -seed %d -ops %d", s, s, *opsFlag)
	t.Run("simple", func(t *testing.T) {
		player, err := playAuth(t, "", s, *opsFlag/2, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", s, err)
		}
		logCounts(t, player.Steps, player.Statuses)
		if player.Stored < 8 {
			t.Errorf("only %d records were left to compare", player.Stored)
		}
	})
	t.Run("signed", func(t *testing.T) {
		player, err := playAuth(t, "", s, *opsFlag/4, nil, "--auth-token",
			"jwt,sign-method=RS256,ttl=10m,priv-key="+rsaKey(t))
		if err != nil {
			t.Fatalf("seed %d: %v", s, err)
		}
		logCounts(t, player.Statuses)
	})
}

// rsaKey writes a new private key to a file.
func rsaKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
}

func writePEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(harness.TempDir(t), "key.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

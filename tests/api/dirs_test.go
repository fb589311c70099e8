package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chorad.tests/api/harness"
)

// TestDirs reads what a server says of the directories it is given.
func TestDirs(t *testing.T) {
	t.Run("open and strange, as etcd says it", testOpenDirs)
	t.Run("the log's own", testOpenLogDir)
	t.Run("a key", testOpenKey)
	t.Run("nothing to say", testPrivateDirs)
}

// warnings are the warnings of a server's log about directories and files:
// their texts, with the names of what they are about.
func warnings(t *testing.T, s *harness.Server) []string {
	t.Helper()
	var found []string
	for _, line := range strings.Split(s.Log(), "\n") {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) != nil ||
			fields["level"] != "warn" {
			continue
		}
		switch fields["msg"] {
		case "check file permission":
			found = append(found, fields["error"].(string))
		case "found invalid file under data directory":
			found = append(found, fields["filename"].(string)+" in "+
				fields["data-dir"].(string))
		}
	}
	return found
}

func mkdir(t *testing.T, mode os.FileMode, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

func testOpenDirs(t *testing.T) {
	parent := harness.TempDir(t)
	var said [2][]string
	for i, binary := range []string{harness.Tool(t, "etcd"),
		harness.Chorad(t)} {
		dir := mkdir(t, 0o777, parent, "data")
		mkdir(t, 0o755|os.ModeSetgid, mkdir(t, 0o750|os.ModeSticky, dir,
			"member"), "snap")
		mkdir(t, 0o700, dir, "lost+found")
		err := os.WriteFile(filepath.Join(dir, "a file"), nil, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		s := harness.Start(t, harness.Options{Binary: binary, DataDir: dir})
		_, _ = s.Stop(syscall.SIGTERM, 10*time.Second)
		said[i] = warnings(t, s)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if len(said[0]) != 5 || !slices.Equal(said[0], said[1]) {
		t.Errorf("etcd says\n%s\nchorad\n%s", strings.Join(said[0], "\n"),
			strings.Join(said[1], "\n"))
	}
}

// testOpenLogDir: the log has all that the data has.
func testOpenLogDir(t *testing.T) {
	wal := mkdir(t, 0o770, harness.TempDir(t), "wal")
	s := harness.Start(t, harness.Options{Args: []string{"--wal-dir", wal}})
	if said := warnings(t, s); len(said) != 1 ||
		!strings.Contains(said[0], wal) ||
		!strings.Contains(said[0], `"drwxrwx---"`) {
		t.Errorf("%q", said)
	}
}

func testOpenKey(t *testing.T) {
	key := secret(t)
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{Args: []string{"--auth-token",
		"jwt,sign-method=HS256,priv-key=" + key}})
	if said := warnings(t, s); len(said) != 1 ||
		!strings.Contains(said[0], key) ||
		!strings.Contains(said[0], `"-rw-r--r--"`) {
		t.Errorf("%q", said)
	}
}

// testPrivateDirs: neither what a server makes itself, the log in the data
// directory included, nor a key for its owner alone is worth a warning.
func testPrivateDirs(t *testing.T) {
	dir := filepath.Join(harness.TempDir(t), "data")
	key := secret(t)
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{DataDir: dir, Args: []string{
		"--wal-dir", filepath.Join(dir, "wal"), "--auth-token",
		"jwt,sign-method=HS256,priv-key=" + key}})
	s.Kill()
	s.Restart(t)
	if said := warnings(t, s); said != nil {
		t.Errorf("%q", said)
	}
}

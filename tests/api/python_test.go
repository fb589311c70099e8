package api

import (
	"path/filepath"
	"testing"
	"time"

	"chorad.tests/api/harness"
)

// TestPythonEtcd3 runs the Python client of Debian's python3-etcd3.
func TestPythonEtcd3(t *testing.T) {
	const python = "/usr/bin/python3"
	probe := harness.Command(t, time.Minute, "", nil, "sh", "-c",
		python+" -c 'import etcd3'")
	if probe.Code != 0 {
		t.Skip("no python3-etcd3: apt-get install python3-etcd3")
	}
	server := harness.Start(t, harness.Options{})
	script := filepath.Join(harness.Root(), "tests", "api", "python",
		"test_etcd3.py")
	r := harness.Command(t, 2*time.Minute, "", nil, python, script,
		server.Endpoint)
	if r.Code != 0 {
		t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	t.Log(r.Stdout)
}

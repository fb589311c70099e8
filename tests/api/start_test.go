package api

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"chorad.tests/api/harness"
)

// output is what a command prints, looked at while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// TestStartScript starts three members as a user does, and stops them as Ctrl-C
// does: by a signal to all that run in the terminal's foreground.
func TestStartScript(t *testing.T) {
	if harness.Sanitized() || !harness.IsChorad(harness.Chorad(t)) ||
		harness.Chorad(t) != filepath.Join(harness.Root(), "build", "chorad") {
		t.Skip("the script starts build/chorad")
	}
	script := filepath.Join(harness.Root(), "scripts", "start")
	data := harness.TempDir(t)
	port := harness.FreePorts(t, 1)[0]
	var out output
	cmd := exec.Command(script, "--data-dir", data, "--port",
		fmt.Sprint(port), "--snapshot-count", "1000")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() (err error) {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		select {
		case err = <-ended:
		case <-time.After(harness.Patience()):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			err = fmt.Errorf("it doesn't stop")
		}
		return err
	}
	if !harness.Eventually(2*harness.Patience(), func() bool {
		return strings.Contains(out.String(), "Three members serve on")
	}) {
		t.Fatalf("%v: %s", stop(), out.String())
	}
	var endpoints []string
	for i := range 3 {
		endpoints = append(endpoints, fmt.Sprintf("localhost:%d", port+10*i))
	}
	client, err := clientv3.New(clientv3.Config{Logger: quiet,
		Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Put(timeout(t), "greeting", "hello")
	if err != nil {
		t.Errorf("put: %v", err)
	}
	list, err := client.MemberList(timeout(t))
	if err != nil || len(list.Members) != 3 {
		t.Errorf("members: %v, %v", list, err)
	}
	client.Close()
	if err := stop(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, endpoint := range endpoints {
		conn, err := net.Dial("tcp", endpoint)
		if err == nil {
			conn.Close()
			t.Errorf("%s still answers", endpoint)
		}
	}
	r := harness.Command(t, time.Minute, "", nil, script, "--members", "1",
		"--data-dir", data)
	if r.Code != 1 || !strings.Contains(r.Stderr, "--members 3") {
		t.Errorf("one member on the data of three: %+v", r)
	}
}

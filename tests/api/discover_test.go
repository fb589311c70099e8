package api

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"chorad.tests/api/harness"
)

const insideEnv = "CHORAD_TEST_APART"

// TestDiscoverySRV founds clusters whose members find each other by a domain's
// records. The name server has the machine's address for that, in a network and
// with a resolv.conf of its own, so the test runs itself once more in there.
func TestDiscoverySRV(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		foundBySRV(t)
		return
	}
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("a network of its own needs root")
	}
	cmd := exec.Command("unshare", "--net", "--mount", "--", os.Args[0],
		"-test.run=^TestDiscoverySRV$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestDiscoverySRV/") {
		t.Fatalf("nothing was tested:\n%s", out)
	}
}

// zone answers for chora.test: m<N>.chora.test is this machine, and the SRV
// records are those given, by name.
type zone struct {
	conn net.PacketConn
	srv  map[string][]dnsmessage.SRVResource
}

func (z *zone) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := z.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := z.answer(buf[:n]); answer != nil {
			_, _ = z.conn.WriteTo(answer, from)
		}
	}
}

func (z *zone) answer(query []byte) []byte {
	var message dnsmessage.Message
	if message.Unpack(query) != nil || len(message.Questions) != 1 {
		return nil
	}
	q := message.Questions[0]
	message.Header.Response = true
	message.Header.RecursionAvailable = true
	message.Additionals = nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type,
		Class: q.Class, TTL: 1}
	name := strings.TrimSuffix(q.Name.String(), ".")
	records := z.srv[name]
	host := strings.HasPrefix(name, "m") && strings.HasSuffix(name, ".chora.test")
	switch {
	case q.Type == dnsmessage.TypeSRV:
		for i := range records {
			message.Answers = append(message.Answers,
				dnsmessage.Resource{Header: header, Body: &records[i]})
		}
	case q.Type == dnsmessage.TypeA && host:
		message.Answers = []dnsmessage.Resource{{Header: header,
			Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
	}
	if len(records) == 0 && !host {
		message.Header.RCode = dnsmessage.RCodeNameError
	}
	packed, err := message.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

func startZone(t *testing.T) *zone {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	err := os.WriteFile(conf, []byte("nameserver 127.0.0.1\n"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"ip link set lo up",
		"mount --bind " + conf + " /etc/resolv.conf"} {
		words := strings.Fields(command)
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	z := &zone{conn: conn, srv: map[string][]dnsmessage.SRVResource{}}
	return z
}

// describe makes the members advertise names, and puts them into the zone.
func (z *zone) describe(cluster *harness.Cluster, service string) {
	name := "_" + service + "._tcp.chora.test"
	for _, s := range cluster.Members {
		parsed, _ := url.Parse(s.PeerURL)
		port, _ := strconv.Atoi(parsed.Port())
		host := s.Name + ".chora.test"
		z.srv[name] = append(z.srv[name], dnsmessage.SRVResource{
			Port: uint16(port), Target: dnsmessage.MustNewName(host + ".")})
		s.Cluster = ""
		s.SetArgs("--discovery-srv", "chora.test",
			"--discovery-srv-name", strings.TrimPrefix(
				strings.TrimPrefix(service, "etcd-server"), "-"),
			"--initial-advertise-peer-urls", fmt.Sprintf("http://%s:%d", host,
				port))
	}
}

func foundBySRV(t *testing.T) {
	z := startZone(t)
	chorad, etcd := harness.Chorad(t), harness.Tool(t, "etcd")
	clusters := map[string]*harness.Cluster{
		"etcd-server":      harness.NewCluster(t, harness.Options{}, chorad, chorad, chorad),
		"etcd-server-both": harness.NewCluster(t, harness.Options{}, etcd, chorad, etcd),
	}
	for service, cluster := range clusters {
		z.describe(cluster, service)
	}
	go z.serve()
	for service, cluster := range clusters {
		t.Run(service, func(t *testing.T) {
			if err := cluster.Run(); err != nil {
				t.Fatal(err)
			}
			for _, s := range cluster.Members {
				client := httpClient(t, s)
				if _, err := client.Put(timeout(t), s.Name, "v"); err != nil {
					t.Errorf("%s: %v", kind(s), err)
				}
			}
			list, err := httpClient(t, cluster.Members[0]).MemberList(timeout(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list.Members {
				if len(m.PeerURLs) != 1 || !strings.HasPrefix(m.PeerURLs[0],
					"http://"+m.Name+".chora.test:") {
					t.Errorf("member %s under %v", m.Name, m.PeerURLs)
				}
			}
			sameHashes(t, cluster)
			// With data, nobody is asked any more.
			cluster.Members[1].SetArgs("--discovery-srv", "gone.test")
			cluster.Members[1].Restart(t)
		})
	}
	t.Run("nothing found", func(t *testing.T) { nothingFound(t, etcd, chorad) })
}

// nothingFound has members find nobody, or others only.
func nothingFound(t *testing.T, binaries ...string) {
	for domain, text := range map[string]string{
		"gone.test": "error querying DNS SRV records for _etcd-server",
		"chora.test": "error setting up initial cluster: cannot find local " +
			`etcd member \"x\" in SRV records`,
	} {
		for _, binary := range binaries {
			s := harness.New(t, harness.Options{Binary: binary, Name: "x",
				Args: []string{"--discovery-srv", domain}})
			s.Cluster = ""
			if err := s.Run(); err == nil {
				t.Fatalf("%s: %s starts", domain, binary)
			}
			var exit *exec.ExitError
			if !errors.As(s.ExitError(), &exit) || exit.ExitCode() != 1 {
				t.Errorf("%s: %s ends with %v", domain, binary, s.ExitError())
			}
			if !strings.Contains(s.Log(), text) {
				t.Errorf("%s: %s doesn't say %q:\n%s", domain, binary, text,
					s.LogTail(5))
			}
		}
	}
}

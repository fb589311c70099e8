package api

import (
	"path/filepath"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"chorad.tests/api/harness"
)

// TestUnixPeers has members talk over unix sockets: from the start on, as one
// that joins, and after the leader was killed.
func TestUnixPeers(t *testing.T) {
	binary := harness.Chorad(t)
	dir := harness.TempDir(t)
	at := func(s *harness.Server) {
		s.PeerURL = "unix://" + filepath.Join(dir, s.Name)
	}
	cluster := harness.NewCluster(t, harness.Options{Args: []string{
		"--strict-reconfig-check=false"}}, binary, binary)
	for _, s := range cluster.Members {
		at(s)
	}
	for _, s := range cluster.Members {
		s.Cluster = cluster.Initial()
	}
	if err := cluster.Run(); err != nil {
		t.Fatal(err)
	}
	// Nobody joins a cluster before it has decided on its version.
	if !harness.Eventually(harness.Patience(), func() bool {
		return strings.Contains(fetch(t, "GET", cluster.Members[0].ClientURL+
			"/version").Body, `"etcdcluster":"3.7.0"`)
	}) {
		t.Fatal("no version is decided on")
	}
	third := cluster.Join(binary)
	at(third)
	client := httpClient(t, cluster.Members[0])
	if _, err := pb.NewClusterClient(client.ActiveConnection()).MemberAdd(
		timeout(t), &pb.MemberAddRequest{
			PeerURLs: []string{third.PeerURL}}); err != nil {
		t.Fatal(err)
	}
	third.Cluster = cluster.Initial()
	if err := third.Run(); err != nil {
		t.Fatal(err)
	}
	old := leader(t, cluster)
	old.Kill()
	for _, s := range cluster.Others(old) {
		client := httpClient(t, s)
		// What is on its way to the old leader is lost.
		if !harness.Eventually(harness.Patience(), func() bool {
			_, err := client.Put(timeout(t), "a", s.Name)
			return err == nil
		}) {
			t.Errorf("%s takes no writes", s.Name)
		}
	}
}

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What has to survive a way from one server to another: content asks a server,
// buckets look into a database.

// content is every key at some revisions, hashes, history, leases and alarms.
func content(t *testing.T, client *clientv3.Client, revs []int64) []string {
	t.Helper()
	var found []string
	note := func(what string, message any, err error) {
		t.Helper()
		text, bad := json.Marshal(message)
		if err = errors.Join(err, bad); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		found = append(found, what+": "+string(text))
	}
	for _, rev := range revs {
		all, err := client.Get(timeout(t), "", clientv3.WithPrefix(),
			clientv3.WithRev(rev))
		if err != nil {
			t.Fatal(err)
		}
		note(fmt.Sprintf("keys at %d", rev), all.Kvs, nil)
		hash, err := client.HashKV(timeout(t), client.Endpoints()[0], rev)
		if err != nil {
			t.Fatal(err)
		}
		note(fmt.Sprintf("hash at %d", rev), []int64{int64(hash.Hash),
			hash.HashRevision, hash.CompactRevision}, nil)
	}
	watched := client.Watch(timeout(t), "", clientv3.WithPrefix(),
		clientv3.WithRev(revs[0]))
	for last := int64(0); last < revs[len(revs)-1]; {
		batch := <-watched
		if batch.Err() != nil || len(batch.Events) == 0 {
			t.Fatalf("watch from %d: %v", revs[0], batch.Err())
		}
		for _, event := range batch.Events {
			note("event", event, nil)
			last = event.Kv.ModRevision
		}
	}
	leases, err := client.Leases(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(leases.Leases, func(a, b clientv3.LeaseStatus) int {
		return int(a.ID>>1) - int(b.ID>>1)
	})
	for _, lease := range leases.Leases {
		left, err := client.TimeToLive(timeout(t), lease.ID,
			clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(left.Keys, bytes.Compare)
		note("lease", []any{left.ID, left.GrantedTTL, left.Keys}, nil)
	}
	alarms, err := client.AlarmList(timeout(t))
	note("alarms", alarms.Alarms, err)
	return found
}

// withoutHashes leaves out what older servers compute in another way.
func withoutHashes(content []string) []string {
	return slices.DeleteFunc(slices.Clone(content), func(text string) bool {
		return strings.HasPrefix(text, "hash ")
	})
}

func sameContent(t *testing.T, before, after []string) {
	t.Helper()
	if len(before) != len(after) {
		t.Errorf("%d things before, %d after", len(before), len(after))
	}
	for i := range min(len(before), len(after)) {
		if before[i] != after[i] {
			t.Fatalf("there is\n%.300s\nand not\n%.300s", after[i], before[i])
		}
	}
}

// buckets are all records of a database, by "bucket/key".
func buckets(t *testing.T, file string) map[string]string {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true,
		Timeout: time.Second})
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	defer db.Close()
	records := map[string]string{}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(key, value []byte) error {
				records[string(name)+"/"+string(key)] = string(value)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return records
}

// sameBuckets compares two databases but for the records that `except` names
// by what they begin with.
func sameBuckets(t *testing.T, before, after string, except ...string) {
	t.Helper()
	a, b := buckets(t, before), buckets(t, after)
	excepted := func(key string) bool {
		return slices.ContainsFunc(except, func(prefix string) bool {
			return strings.HasPrefix(key, prefix)
		})
	}
	wrong := 0
	complain := func(format string, args ...any) {
		if wrong++; wrong <= 5 {
			t.Errorf(format, args...)
		}
	}
	for key, value := range a {
		if other, ok := b[key]; !excepted(key) && (!ok || other != value) {
			complain("%q is %.200q there: %v, was %.200q", key, other, ok,
				value)
		}
	}
	for key, value := range b {
		if _, ok := a[key]; !excepted(key) && !ok {
			complain("%q = %.200q is new", key, value)
		}
	}
}

// copyDir copies a directory with its files' holes.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	out, err := exec.Command("cp", "-r", "--sparse=always", "--reflink=auto",
		from, to).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

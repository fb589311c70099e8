package lockstep

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	bolt "go.etcd.io/bbolt"
)

// What bcrypt makes of a password differs by its salt.
var salted = regexp.MustCompile(`\$2a\$04\$[./A-Za-z0-9]{53}`)

// stored compares the records of users, roles and auth itself, byte for byte,
// as the sides' snapshots have them.
func (p *AuthPlayer) stored() error {
	// Gives root a token.
	if err := p.asRoot(&pb.AuthStatusRequest{}); err != nil {
		return err
	}
	have, err := p.records(p.a)
	if err != nil {
		return p.mismatch(err.Error())
	}
	want, err := p.records(p.b)
	if err != nil {
		return p.mismatch(err.Error())
	}
	p.Stored = len(want)
	for name, value := range want {
		if other, ok := have[name]; !ok || other != value {
			return p.mismatch(fmt.Sprintf(
				"%q is stored as %q (%v) here, in etcd as %q", name, other, ok,
				value))
		}
	}
	if len(have) != len(want) {
		return p.mismatch(fmt.Sprintf("%d records, in etcd %d", len(have),
			len(want)))
	}
	return nil
}

func (p *AuthPlayer) records(s *Side) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	file, err := os.CreateTemp("", "chorad-auth-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	stream, err := s.maint.Snapshot(p.context(ctx, s, false),
		&pb.SnapshotRequest{})
	if err != nil {
		return nil, err
	}
	var image bytes.Buffer
	for {
		piece, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		image.Write(piece.Blob)
	}
	image.Truncate(image.Len() - 32) // the sum
	if _, err := file.Write(image.Bytes()); err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return readRecords(file.Name())
}

func readRecords(path string) (map[string]string, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	records := map[string]string{}
	return records, db.View(func(tx *bolt.Tx) error {
		for _, name := range []string{"auth", "authUsers", "authRoles"} {
			err := tx.Bucket([]byte(name)).ForEach(func(k, v []byte) error {
				records[name+"/"+string(k)] = string(salted.ReplaceAll(v,
					[]byte("hash")))
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

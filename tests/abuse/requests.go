package main

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// The requests that attackers make, as they lie in DATA frames.

const (
	pathPut   = "/etcdserverpb.KV/Put"
	pathRange = "/etcdserverpb.KV/Range"
	pathWatch = "/etcdserverpb.Watch/Watch"
)

func encoded(m proto.Message) []byte {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err) // our own messages can be encoded
	}
	return message(body)
}

func putMessage(key string, value []byte) []byte {
	return encoded(&pb.PutRequest{Key: []byte(key), Value: value})
}

// playerKey is a key of one player.
func playerKey(i int) string { return fmt.Sprintf("abuse/%d", i) }

// rangeMessage asks for one key.
func rangeMessage(key string) []byte {
	return encoded(&pb.RangeRequest{Key: []byte(key)})
}

// rangeAllMessage asks for everything there is.
func rangeAllMessage() []byte {
	return encoded(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
}

// watchMessage watches all keys that begin with a prefix.
func watchMessage(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return encoded(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte(prefix),
			RangeEnd: end}}})
}

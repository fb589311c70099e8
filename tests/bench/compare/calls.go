package main

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	pathPut      = "/etcdserverpb.KV/Put"
	pathRange    = "/etcdserverpb.KV/Range"
	pathWatch    = "/etcdserverpb.Watch/Watch"
	pathStatus   = "/etcdserverpb.Maintenance/Status"
	pathDefrag   = "/etcdserverpb.Maintenance/Defragment"
	pathSnapshot = "/etcdserverpb.Maintenance/Snapshot"

	pathUserAdd      = "/etcdserverpb.Auth/UserAdd"
	pathGrantRole    = "/etcdserverpb.Auth/UserGrantRole"
	pathAuthEnable   = "/etcdserverpb.Auth/AuthEnable"
	pathAuthenticate = "/etcdserverpb.Auth/Authenticate"
)

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field,
		protowire.BytesType), v)
}

func putRequest(b, key, value []byte) []byte {
	return appendBytes(appendBytes(b, 1, key), 2, value)
}

func rangeRequest(key []byte, serializable bool) []byte {
	b := appendBytes(nil, 1, key)
	if serializable {
		b = protowire.AppendVarint(protowire.AppendTag(b, 7,
			protowire.VarintType), 1)
	}
	return b
}

func watchRequest(key []byte) []byte {
	return appendBytes(nil, 1, appendBytes(nil, 1, key))
}

// fields calls f for each field of a message: the value of a varint, or the
// bytes of a submessage.
func fields(b []byte, f func(protowire.Number, uint64, []byte)) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		switch kind {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return protowire.ParseError(n)
			}
			f(field, v, nil)
			b = b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return protowire.ParseError(n)
			}
			f(field, 0, v)
			b = b[n:]
		default:
			return fmt.Errorf("unexpected wire type %d", kind)
		}
	}
	return nil
}

// watchResponse counts what a WatchResponse brings.
func watchResponse(b []byte) (created bool, events int64, err error) {
	canceled := false
	err = fields(b, func(field protowire.Number, v uint64, _ []byte) {
		switch field {
		case 3:
			created = v != 0
		case 4:
			canceled = v != 0
		case 11:
			events++
		}
	})
	if err == nil && canceled {
		err = fmt.Errorf("the server cancels a watcher")
	}
	return created, events, err
}

// statusLeads says whether the member that answers leads.
func statusLeads(b []byte) (leads bool, err error) {
	var member, leader uint64
	err = fields(b, func(field protowire.Number, v uint64, inner []byte) {
		switch field {
		case 1:
			err2 := fields(inner, func(f protowire.Number, id uint64, _ []byte) {
				if f == 2 {
					member = id
				}
			})
			if err2 != nil {
				member = 0
			}
		case 4:
			leader = v
		}
	})
	return member != 0 && member == leader, err
}

// authToken is the token that a log-in gives.
func authToken(b []byte) (token string, err error) {
	err = fields(b, func(field protowire.Number, _ uint64, inner []byte) {
		if field == 2 {
			token = string(inner)
		}
	})
	return token, err
}

// statusSize is the size of the store's file.
func statusSize(b []byte) (size uint64, err error) {
	err = fields(b, func(field protowire.Number, v uint64, _ []byte) {
		if field == 3 {
			size = v
		}
	})
	return size, err
}

// Bbolt's side of the exchange:
//
//	bbolt write DIR    databases of many kinds
//	bbolt list FILE    checks it and lists all records as image_chorad does
//	bbolt change FILE  deletes, puts and checks: pages split and merge
package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// list prints a line for each bucket and each record.
func list(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			fmt.Printf("bucket %x\n", name)
			return b.ForEach(func(key, value []byte) error {
				fmt.Printf("%x %d %08x\n", key, len(value),
					crc32.Checksum(value, crc32.MakeTable(crc32.Castagnoli)))
				return nil
			})
		})
	})
}

// change puts and deletes at random in several transactions.
func change(db *bbolt.DB, rng *rand.Rand, records int) error {
	for range 8 {
		err := db.Update(func(tx *bbolt.Tx) error {
			for _, name := range []string{"alarm", "key", "lease", "meta"} {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				if err != nil {
					return err
				}
				if name == "alarm" {
					continue
				}
				if err := changeBucket(b, rng, records); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func changeBucket(b *bbolt.Bucket, rng *rand.Rand, records int) error {
	for range records {
		key := fmt.Appendf(nil, "%0*d", 1+rng.IntN(30), rng.IntN(records*3))
		size := rng.IntN(300)
		if rng.IntN(50) == 0 {
			size = rng.IntN(70000)
		}
		var err error
		if rng.IntN(3) == 0 {
			err = b.Delete(key)
		} else {
			value := make([]byte, size)
			for i := range value {
				value[i] = byte(rng.Uint32())
			}
			err = b.Put(key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func write(dir string) error {
	n := 0
	for _, pageSize := range []int{4096, 8192, 16384, 65536} {
		for _, noFreelist := range []bool{false, true} {
			for _, records := range []int{0, 3, 2000} {
				n++
				file := filepath.Join(dir, fmt.Sprintf("%d-%v-%d.db",
					pageSize, noFreelist, records))
				db, err := bbolt.Open(file, 0o600, &bbolt.Options{
					PageSize: pageSize, NoFreelistSync: noFreelist,
					NoSync: true})
				if err != nil {
					return err
				}
				rng := rand.New(rand.NewPCG(uint64(n), 0))
				err = errors.Join(change(db, rng, records), db.Close())
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func run(verb, path string) error {
	if verb == "write" {
		return write(path)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		ReadOnly: verb == "list", NoFreelistSync: true, NoSync: true})
	if err != nil {
		return err
	}
	defer db.Close()
	if verb == "list" {
		return list(db)
	}
	for round := range 5 {
		rng := rand.New(rand.NewPCG(uint64(round), 7))
		if err := change(db, rng, 300); err != nil {
			return err
		}
		err := db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return db.Update(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			c := b.Cursor()
			for key, _ := c.First(); key != nil; key, _ = c.First() {
				if err := b.Delete(key); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: bbolt write DIR | list FILE | change FILE")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(os.Args[1:], ": ", err)
	}
}

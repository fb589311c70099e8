package api

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chorad.tests/api/harness"
)

// walEnd walks over the frames of a log file and gives the offset of each,
// and the end of the last one.
func walEnd(data []byte) (frames []int, end int) {
	for end+8 <= len(data) {
		field := int64(binary.LittleEndian.Uint64(data[end:]))
		if field == 0 {
			break
		}
		size := int(uint64(field) & ^(uint64(0xff) << 56))
		if field < 0 {
			size += int(uint64(field)>>56) & 7
		}
		frames = append(frames, end)
		end += 8 + size
	}
	return frames, end
}

// filled gives a stopped server whose log holds 40 puts, and its newest file.
func filled(t *testing.T) (*harness.Server, string) {
	t.Helper()
	s := harness.Start(t, harness.Options{Ready: 8 * time.Second})
	client := httpClient(t, s)
	for i := range 40 {
		_, err := client.Put(timeout(t), fmt.Sprintf("key%02d", i),
			fmt.Sprintf("value-%02d-%s", i, strings.Repeat("x", 200)))
		if err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	s.Kill()
	files, err := filepath.Glob(filepath.Join(s.DataDir, "member", "wal",
		"*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log files in %s: %v", s.DataDir, err)
	}
	return s, slices.Max(files)
}

func edit(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantAll sees that the 40 puts are there.
func wantAll(t *testing.T, s *harness.Server) {
	t.Helper()
	client := httpClient(t, s)
	for i := range 40 {
		got, err := client.Get(timeout(t), fmt.Sprintf("key%02d", i))
		if err != nil || len(got.Kvs) != 1 ||
			!strings.HasPrefix(string(got.Kvs[0].Value),
				fmt.Sprintf("value-%02d", i)) {
			t.Fatalf("key%02d: %v, %v", i, got, err)
		}
	}
}

// TestDamagedLog damages the log of a stopped server. What a crash can do to
// it is repaired; anything else keeps the server from starting.
func TestDamagedLog(t *testing.T) {
	t.Run("torn tail", func(t *testing.T) {
		s, file := filled(t)
		edit(t, file, func(data []byte) []byte {
			// Of a record of 4096 bytes only the first 1000 came through:
			// its type, a checksum, and data of 4085 bytes.
			_, end := walEnd(data)
			torn := make([]byte, 8, 1008)
			binary.LittleEndian.PutUint64(torn, 4096)
			torn = append(torn, 8, 2, 16, 0xff, 0xff, 0xff, 0xff, 0x0f, 26,
				0xf5, 0x1f)
			torn = append(torn, bytes.Repeat([]byte{0x0a}, 989)...)
			copy(data[end:], torn)
			return data
		})
		s.Restart(t)
		wantAll(t, s)
		_, err := httpClient(t, s).Put(timeout(t), "more", "x")
		if err != nil {
			t.Error(err)
		}
		s.Kill()
		s.Restart(t)
		wantAll(t, s)
	})
	t.Run("cut tail", func(t *testing.T) {
		s, file := filled(t)
		edit(t, file, func(data []byte) []byte {
			_, end := walEnd(data)
			torn := []byte{0, 1, 0, 0, 0, 0, 0, 0, 8, 4, 16}
			return append(data[:end:end], torn...)
		})
		s.Restart(t)
		wantAll(t, s)
	})
	t.Run("flipped bit in the middle", func(t *testing.T) {
		s, file := filled(t)
		edit(t, file, func(data []byte) []byte {
			i := bytes.Index(data, []byte("value-20"))
			if i < 0 {
				t.Fatal("the put isn't in the log")
			}
			data[i+2] ^= 0x10
			return data
		})
		refuses(t, s, file)
	})
	t.Run("record missing in the middle", func(t *testing.T) {
		s, file := filled(t)
		edit(t, file, func(data []byte) []byte {
			frames, _ := walEnd(data)
			from, to := frames[len(frames)/2], frames[len(frames)/2+1]
			return append(data[:from:from], data[to:]...)
		})
		refuses(t, s, file)
	})
	t.Run("zeros in the middle of a file", func(t *testing.T) {
		s, file := filled(t)
		edit(t, file, func(data []byte) []byte {
			i := bytes.Index(data, []byte("value-20"))
			copy(data[i:], make([]byte, 100))
			return data
		})
		refuses(t, s, file)
	})
}

// refuses sees that the server doesn't start, and that chorad says why: it
// names the file.
func refuses(t *testing.T, s *harness.Server, file string) {
	t.Helper()
	before := len(s.Log())
	if err := s.Run(); err == nil {
		t.Fatal("it starts on a damaged log")
	}
	if s.Alive() {
		t.Error("it neither serves nor ends")
		return
	}
	if s.ExitError() == nil {
		t.Error("the exit code is 0")
	}
	if s.IsChorad() && !strings.Contains(s.Log()[before:],
		filepath.Base(file)) {
		t.Errorf("the log doesn't name %s:\n%s", filepath.Base(file),
			s.LogTail(5))
	}
}

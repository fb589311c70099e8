package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// bomb is a gzip stream of so many megabytes of zeros. The compressor is asked
// for two of them only: from the second on its output repeats.
func bomb(megabytes int) []byte {
	zeros := make([]byte, 1<<20)
	out := bytes.NewBuffer([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255})
	z, err := flate.NewWriter(out, flate.BestCompression)
	if err != nil {
		panic(err) // the level is one that there is
	}
	crc := crc32.NewIEEE()
	piece := func() {
		_, _ = z.Write(zeros) // into memory
		_ = z.Flush()
		_, _ = crc.Write(zeros)
	}
	piece()
	begin := out.Len()
	piece()
	repeated := bytes.Clone(out.Bytes()[begin:])
	for range megabytes - 2 {
		out.Write(repeated)
		_, _ = crc.Write(zeros)
	}
	_ = z.Close()
	out.Write(binary.LittleEndian.AppendUint32(nil, crc.Sum32()))
	out.Write(binary.LittleEndian.AppendUint32(nil, uint32(megabytes<<20)))
	return out.Bytes()
}

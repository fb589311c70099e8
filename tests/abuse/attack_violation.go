package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What RFC 9113 and 7541 forbid, each on a connection of its own, one after the
// other. A server may close, reset or answer; what it lets pass is noted.

var violationAttacks = []attack{
	{name: "violations", connections: 8, play: violate},
}

type violation struct {
	name string
	send func(w *wire)
}

// frameOf is a violation that is one frame.
func frameOf(kind http2.FrameType, flags http2.Flags, stream uint32,
	payload string) func(w *wire) {
	return func(w *wire) { w.frame(kind, flags, stream, []byte(payload)) }
}

// blockOf is a request whose header block is this.
func blockOf(block string) func(w *wire) {
	return frameOf(http2.FrameHeaders, http2.FlagHeadersEndHeaders|
		http2.FlagHeadersEndStream, 1, block)
}

// fieldsOf is a request with these fields, "name=value", in place of those of
// the same name or behind the others.
func fieldsOf(more ...string) func(w *wire) {
	return func(w *wire) {
		fields := grpcFields(pathRange)
		for _, m := range more {
			name, value, _ := strings.Cut(m, "=")
			fields = append(fields, hpack.HeaderField{Name: name, Value: value})
		}
		w.frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|
			http2.FlagHeadersEndStream, w.stream(), w.headerBlock(fields))
	}
}

func oneSetting(id http2.SettingID, value uint32) func(w *wire) {
	return func(w *wire) { w.settings(http2.Setting{ID: id, Val: value}) }
}

// frameViolations are wrong in the frame itself.
var frameViolations = []violation{
	{"settings-on-stream", frameOf(http2.FrameSettings, 0, 1, "")},
	{"settings-length", frameOf(http2.FrameSettings, 0, 0, "\x00\x04\x00\x00\x00")},
	{"settings-ack-payload", frameOf(http2.FrameSettings, 1, 0,
		"\x00\x04\x00\x00\xff\xff")},
	{"settings-window", oneSetting(http2.SettingInitialWindowSize, 1<<31)},
	{"settings-frame-size", oneSetting(http2.SettingMaxFrameSize, 0)},
	{"settings-frame-size-large", oneSetting(http2.SettingMaxFrameSize, 1<<24)},
	{"settings-push", oneSetting(http2.SettingEnablePush, 2)},
	{"ping-length", frameOf(http2.FramePing, 0, 0, "short")},
	{"ping-on-stream", frameOf(http2.FramePing, 0, 1, "12345678")},
	{"reset-zero", frameOf(http2.FrameRSTStream, 0, 0, "\x00\x00\x00\x08")},
	{"reset-length", frameOf(http2.FrameRSTStream, 0, 1, "\x00\x00\x08")},
	{"reset-idle", frameOf(http2.FrameRSTStream, 0, 9, "\x00\x00\x00\x08")},
	{"window-length", frameOf(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x01")},
	{"window-zero", frameOf(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00")},
	{"window-idle", frameOf(http2.FrameWindowUpdate, 0, 9, "\x00\x00\x00\x01")},
	{"priority-length", frameOf(http2.FramePriority, 0, 1, "1234")},
	{"priority-zero", frameOf(http2.FramePriority, 0, 0, "12345")},
	{"data-zero", frameOf(http2.FrameData, 0, 0, "data")},
	{"data-idle", frameOf(http2.FrameData, 0, 5, "data")},
	{"data-even", frameOf(http2.FrameData, 0, 4, "data")},
	{"push-promise", frameOf(http2.FramePushPromise, 4, 1, "\x00\x00\x00\x02\x82")},
	{"goaway-on-stream", frameOf(http2.FrameGoAway, 0, 1, "\x00\x00\x00\x00"+
		"\x00\x00\x00\x00")},
	{"goaway-length", frameOf(http2.FrameGoAway, 0, 0, "\x00\x00")},
	{"continuation-alone", frameOf(http2.FrameContinuation, 4, 1, "\x82")},
	{"headers-zero", frameOf(http2.FrameHeaders, 5, 0, "\x82")},
	{"headers-even", frameOf(http2.FrameHeaders, 5, 2, "\x82")},
	{"headers-padding", frameOf(http2.FrameHeaders, 5|8, 1, "\xff\x82")},
	{"headers-priority-short", frameOf(http2.FrameHeaders, 5|0x20, 1, "\x00")},
	{"frame-too-large", func(w *wire) {
		w.frame(http2.FrameType(0xfe), 0, 0, make([]byte, 16385))
	}},
	{"frame-16-mib", func(w *wire) {
		w.forge(1<<24-1, http2.FrameData, 0, 1, make([]byte, 60000))
	}},
}

// orderViolations are wrong in what they follow.
var orderViolations = []violation{
	{"preface-wrong", func(w *wire) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.out = append(w.out[:0], "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"...)
	}},
	{"preface-twice", func(w *wire) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.out = append(w.out, http2.ClientPreface...)
	}},
	{"id-smaller", func(w *wire) {
		w.next = 9
		w.call(pathPut, false)
		w.next = 3
		w.call(pathPut, false)
	}},
	{"id-again", func(w *wire) {
		w.call(pathPut, true)
		w.next = 1
		w.call(pathPut, true)
	}},
	{"headers-interrupted", func(w *wire) {
		w.begin()
		w.ping(0)
	}},
	{"continuation-elsewhere", func(w *wire) {
		id := w.begin()
		w.frame(http2.FrameContinuation, 4, id+2, literal("x", nil))
	}},
	{"data-after-end", func(w *wire) {
		id := w.call(pathWatch, true)
		w.frame(http2.FrameData, 0, id, []byte("more"))
	}},
	{"headers-after-end", func(w *wire) {
		id := w.call(pathWatch, true)
		w.frame(http2.FrameHeaders, 5, id, literal("x-late", nil))
	}},
	{"trailers-not-last", func(w *wire) {
		id := w.call(pathPut, false)
		w.frame(http2.FrameHeaders, 4, id, literal("x-trailer", nil))
	}},
	{"data-padding", func(w *wire) {
		id := w.call(pathPut, false)
		w.frame(http2.FrameData, 8, id, []byte{200, 0, 0})
	}},
	{"depends-on-itself", func(w *wire) {
		id := w.call(pathPut, false)
		w.frame(http2.FramePriority, 0, id, dependsOn(id))
	}},
	{"length-and-body", func(w *wire) {
		id := w.call(pathPut, false, hpack.HeaderField{Name: "content-length",
			Value: "3"})
		w.frame(http2.FrameData, 1, id, putMessage("abuse/length", nil))
	}},
}

// fieldViolations are wrong in the header block.
var fieldViolations = []violation{
	{"index-zero", blockOf("\x80")},
	{"index-beyond", blockOf("\xff\xff\xff\x7f")},
	{"integer-too-large", blockOf("\xff" + strings.Repeat("\xff", 20) + "\x01")},
	{"table-too-large", blockOf("\x3f\xff\xff\x7f")},
	{"table-size-late", blockOf("\x82\x3f\xe1\x1f")},
	{"block-cut-off", blockOf("\x40\x05ab")},
	{"huffman-end", blockOf("\x00\x01x\x84\xff\xff\xff\xff")},
	{"huffman-padding", blockOf("\x00\x01x\x82\x1f\x00")},
	{"block-empty", blockOf("")},
	{"pseudo-late", fieldsOf("x-first=1", ":path=/late")},
	{"pseudo-twice", fieldsOf(":method=POST")},
	{"pseudo-unknown", blockOf("\x83\x86\x00\x05:what\x01x")},
	{"path-missing", blockOf("\x83\x86")},
	{"path-empty", blockOf("\x83\x86\x04\x00")},
	{"status-in-request", blockOf("\x83\x86\x84\x88")},
	{"upper-case", fieldsOf("X-Upper=1")},
	{"connection-field", fieldsOf("connection=close")},
	{"transfer-encoding", fieldsOf("transfer-encoding=chunked")},
	{"te-gzip", fieldsOf("te=gzip")},
	{"name-empty", fieldsOf("=value")},
	{"name-nul", fieldsOf("x\x00y=1")},
	{"value-nul", fieldsOf("x-nul=a\x00b")},
	{"value-newline", fieldsOf("x-line=a\r\nb: c")},
	{"length-twice", fieldsOf("content-length=0", "content-length=5")},
	{"length-nonsense", fieldsOf("content-length=-1")},
	{"timeout-nonsense", fieldsOf("grpc-timeout=99999999999999999H")},
	{"binary-nonsense", fieldsOf("x-bin=!!!!")},
}

// violate commits all of them in turn; each player begins at another place.
func violate(p *player) error {
	all := slices.Concat(frameViolations, orderViolations,
		fieldViolations)
	for !p.over() {
		v := all[int(p.round.Add(1))%len(all)]
		if err := p.commit(v); err != nil {
			return err
		}
	}
	return errOver
}

// commit makes one violation and waits a while for what comes of it.
func (p *player) commit(v violation) error {
	w, err := p.raw()
	if err != nil {
		return err
	}
	defer w.close()
	v.send(w)
	// A server that let it pass answers this.
	w.frame(http2.FramePing, 0, 0, bytes.Repeat([]byte{0x5a}, 8))
	w.flush()
	_ = w.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if passed := w.reaction(); passed {
		p.said("passed " + v.name)
	}
	return nil
}

// reaction reads until something shows what the server made of a violation, and
// says whether it goes on as if nothing had been.
func (w *wire) reaction() bool {
	head := make([]byte, 9)
	payload := make([]byte, 1<<16)
	for {
		if n, err := io.ReadFull(w.conn, head); err != nil {
			return n == 0 && isTimeout(err)
		}
		n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if n > len(payload) {
			return false
		}
		if _, err := io.ReadFull(w.conn, payload[:n]); err != nil {
			return isTimeout(err)
		}
		stream := binary.BigEndian.Uint32(head[5:])
		switch kind := http2.FrameType(head[3]); {
		case kind == http2.FrameGoAway, kind == http2.FrameRSTStream,
			kind == http2.FrameHeaders && stream != 0:
			return false
		case kind == http2.FramePing && head[4]&1 != 0 && payload[0] == 0x5a:
			return true
		}
	}
}

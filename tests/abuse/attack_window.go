package main

import (
	"bytes"
	"time"

	"golang.org/x/net/http2"
)

// Games with flow control.

var windowAttacks = []attack{
	{name: "window-one-byte", play: windowOneByte},
	{name: "window-zero-flips", play: windowZeroFlips},
	{name: "window-zero-stalled", play: windowZeroStalled},
	{name: "window-overflow", play: windowOverflow},
	{name: "window-overflow-settings", play: windowOverflowSettings},
	{name: "window-ignored", play: windowIgnored},
	{name: "frame-size-flips", play: frameSizeFlips},
}

// putLarge stores a value that answers can be made of.
func (w *wire) putLarge(key string, size int) error {
	body := putMessage(key, bytes.Repeat([]byte("L"), size))
	err := w.data(w.call(pathPut, false), body, true)
	w.flush()
	w.p.wait(50 * time.Millisecond)
	return err
}

// windowOneByte takes the answers of a hundred reads a byte at a time.
func windowOneByte(p *player) error {
	w, err := p.raw(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	if err != nil {
		return err
	}
	defer w.close()
	w.onData = func(stream uint32, n int) {
		if n > 0 {
			w.grow(0, uint32(n))
			w.grow(stream, 1)
			w.flush()
		}
	}
	go w.read()
	if err := w.putLarge(playerKey(p.index), 1<<18); err != nil {
		return err
	}
	body := rangeMessage(playerKey(p.index))
	for range 100 {
		if err := w.data(w.call(pathRange, false), body, true); err != nil {
			return err
		}
	}
	return w.hold()
}

// windowZeroFlips holds a thousand answers back and changes all their windows
// with each frame.
func windowZeroFlips(p *player) error {
	w, err := p.join(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.putLarge(playerKey(p.index), 1<<14); err != nil {
		return err
	}
	body := rangeMessage(playerKey(p.index))
	for range p.size(1000, 300) {
		if err := w.data(w.call(pathRange, false), body, true); err != nil {
			return err
		}
	}
	for i := uint32(0); w.ok(); i++ {
		w.settings(http2.Setting{ID: http2.SettingInitialWindowSize,
			Val: i % 2})
	}
	return errOver
}

// windowZeroStalled asks for large answers whose windows never open.
func windowZeroStalled(p *player) error {
	w, err := p.join(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.putLarge(playerKey(p.index), 1<<20); err != nil {
		return err
	}
	body := rangeMessage(playerKey(p.index))
	for range p.size(100, 30) {
		if err := w.data(w.call(pathRange, false), body, true); err != nil {
			return err
		}
	}
	return w.hold()
}

// windowOverflow opens windows further than they go.
func windowOverflow(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	for i := 0; w.ok(); i++ {
		id := w.call(pathPut, false)
		w.grow(id, 1<<31-1)
		if i%100 == 99 {
			w.grow(0, 1<<31-1)
			w.grow(0, 1<<31-1)
		}
	}
	return errOver
}

// windowOverflowSettings does it by the initial window, for all streams.
func windowOverflowSettings(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	for range 100 {
		w.grow(w.call(pathPut, false), 1<<30)
	}
	for w.ok() {
		w.settings(http2.Setting{ID: http2.SettingInitialWindowSize,
			Val: 1<<31 - 1})
		w.settings(http2.Setting{ID: http2.SettingInitialWindowSize,
			Val: 1 << 31})
	}
	return errOver
}

// windowIgnored sends bodies whatever the windows say.
func windowIgnored(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	part := make([]byte, 16384)
	first := []byte("\x00\x00\x10\x00\x00")
	for w.ok() {
		id := w.call(pathPut, false)
		w.frame(http2.FrameData, 0, id, first)
		for range 20 {
			w.frame(http2.FrameData, 0, id, part)
		}
	}
	return errOver
}

// frameSizeFlips changes the size of frames while a large answer is on its way.
func frameSizeFlips(p *player) error {
	w, err := p.join(http2.Setting{ID: http2.SettingInitialWindowSize,
		Val: 1<<31 - 1})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.putLarge(playerKey(p.index), 1<<20); err != nil {
		return err
	}
	body := rangeMessage(playerKey(p.index))
	for i := uint32(0); w.ok(); i++ {
		w.settings(http2.Setting{ID: http2.SettingMaxFrameSize,
			Val: 16384 + i%2*(1<<24-1-16384)})
		if i%1000 == 0 {
			if err := w.data(w.call(pathRange, false), body, true); err != nil {
				return err
			}
		}
	}
	return errOver
}

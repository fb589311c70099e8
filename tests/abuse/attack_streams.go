package main

import (
	"bytes"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Much that is open and doesn't go on.

var streamAttacks = []attack{
	{name: "half-open-connections", play: halfOpen},
	{name: "half-closed-connections", play: halfClosed},
	{name: "half-closed-streams", play: halfClosedStreams},
	{name: "open-streams", play: openStreams},
	{name: "open-watches", play: openWatches},
	{name: "message-partial", play: messagePartial},
	{name: "message-4gib", play: message4GiB},
	{name: "message-4gib-one", play: message4GiBOne},
	{name: "message-empty", play: messageEmpty},
	{name: "gzip-bomb", play: gzipBomb},
	{name: "unread-ranges", connections: 8, filled: true, play: unreadRanges},
	{name: "unread-watches", play: unreadWatches},
}

// halfOpen opens many connections, some of which say part of a preface.
func halfOpen(p *player) error {
	starts := []string{"", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
		http2.ClientPreface, http2.ClientPreface + "\x00\x00\x08", "GET /he"}
	for i := range p.size(250, 100) {
		conn, err := p.dial()
		if err != nil {
			break
		}
		defer conn.Close()
		if start := starts[i%len(starts)]; start != "" {
			_, _ = conn.Write([]byte(start))
		}
		p.wait(time.Millisecond)
	}
	p.wait(time.Until(p.end))
	return errOver
}

// halfClosed opens connections that ask for a watch and then shut down their
// side.
func halfClosed(p *player) error {
	for range p.size(100, 50) {
		w, err := p.join()
		if err != nil {
			break
		}
		defer w.close()
		_ = w.data(w.call(pathWatch, false), watchMessage("honest/"), false)
		w.flush()
		_ = w.conn.Conn.(*net.TCPConn).CloseWrite()
		p.wait(2 * time.Millisecond)
	}
	p.wait(time.Until(p.end))
	return errOver
}

// halfClosedStreams has thousands of reads whose answers no window lets out.
func halfClosedStreams(p *player) error {
	w, err := p.join(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if err != nil {
		return err
	}
	defer w.close()
	body := rangeMessage("visitor")
	for range p.size(5000, 2000) {
		if err := w.data(w.call(pathRange, false), body, true); err != nil {
			return err
		}
	}
	return w.hold()
}

// openStreams opens thousands of streams without asking for anything on them.
func openStreams(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	for i := 0; i < p.size(5000, 2000) && w.ok(); i++ {
		w.call([]string{pathPut, pathRange, pathWatch}[i%3], false)
	}
	return w.hold()
}

// openWatches has a thousand watches on keys that change all the time.
func openWatches(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	body := watchMessage("honest/")
	for i := 0; i < p.size(250, 100) && w.ok(); i++ {
		if err := w.data(w.call(pathWatch, false), body, false); err != nil {
			return err
		}
	}
	return w.hold()
}

// messagePartial sends half of a message on each of many streams.
func messagePartial(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	whole := putMessage("abuse/partial", bytes.Repeat([]byte("p"), 1<<20))
	streams := make([]uint32, p.size(250, 100))
	for i := range streams {
		streams[i] = w.call(pathPut, false)
	}
	for at := 0; at < len(whole)/2; at += 4096 {
		for _, id := range streams {
			if err := w.data(id, whole[at:at+4096], false); err != nil {
				return err
			}
		}
	}
	return w.hold()
}

// message4GiB announces 4 GiB on each of many streams.
func message4GiB(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	body := []byte("\x00\xff\xff\xff\xffbegin")
	for w.ok() {
		if err := w.data(w.call(pathPut, false), body, false); err != nil {
			return err
		}
	}
	return errOver
}

// message4GiBOne announces them on one and goes on sending.
func message4GiBOne(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	id := w.call(pathPut, false)
	if err := w.data(id, []byte("\x00\xff\xff\xff\xff"), false); err != nil {
		return err
	}
	for part := make([]byte, 16384); w.ok(); {
		if err := w.data(id, part, false); err != nil {
			return err
		}
	}
	return errOver
}

// messageEmpty sends messages without a byte, many in a frame, where one is
// expected.
func messageEmpty(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	many := bytes.Repeat([]byte{0, 0, 0, 0, 0}, 3000)
	for w.ok() {
		path := []string{pathPut, pathWatch}[int(p.round.Add(1))%2]
		if err := w.data(w.call(path, false), many, false); err != nil {
			return err
		}
	}
	return errOver
}

// gzipBomb puts what is a thousand times as large when it is unpacked.
func gzipBomb(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	made, _ := p.made.LoadOrStore("bomb", bomb(p.size(1024, 128)))
	body := message(made.([]byte))
	body[0] = 1
	for w.ok() {
		id := w.call(pathPut, false, hpack.HeaderField{Name: "grpc-encoding",
			Value: "gzip"})
		if err := w.data(id, body, true); err != nil {
			return err
		}
	}
	return errOver
}

// unreadRanges asks for all there is and doesn't read the answer.
func unreadRanges(p *player) error {
	w, err := p.deaf()
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.data(w.call(pathRange, false), rangeAllMessage(), true); err != nil {
		return err
	}
	return w.hold()
}

// unreadWatches has the first player put large values that all others watch, a
// hundred times each, without reading.
func unreadWatches(p *player) error {
	if p.index == 0 {
		return largePuts(p)
	}
	w, err := p.deaf()
	if err != nil {
		return err
	}
	defer w.close()
	body := watchMessage("abuse/large")
	for range 10 {
		id := w.call(pathWatch, false)
		for range 10 {
			w.frame(http2.FrameData, 0, id, body)
		}
	}
	return w.hold()
}

// largePuts puts 256 KiB twenty times a second.
func largePuts(p *player) error {
	w, err := p.join()
	if err != nil {
		return err
	}
	defer w.close()
	value := bytes.Repeat([]byte("large"), 1<<18/5)
	for p.wait(50 * time.Millisecond) {
		if err := w.data(w.call(pathPut, false),
			putMessage("abuse/large", value), true); err != nil {
			return err
		}
		w.flush()
	}
	return errOver
}

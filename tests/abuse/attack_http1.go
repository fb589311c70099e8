package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// HTTP/1.1, which the same port speaks.

var http1Attacks = []attack{
	{name: "h1-smuggling", play: func(p *player) error {
		return p.shapes(smuggling)
	}},
	{name: "h1-shapes", play: func(p *player) error {
		return p.shapes(shapes)
	}},
	{name: "h1-chunk-extension", play: func(p *player) error {
		return endless(p, chunkedHead+"5;"+strings.Repeat("e", 40<<10)+
			"\r\nhello\r\n", "", "")
	}},
	{name: "h1-chunk-extension-endless", play: func(p *player) error {
		return endless(p, chunkedHead+"5;", strings.Repeat("e", 16384), "")
	}},
	{name: "h1-chunks-tiny", play: func(p *player) error {
		return endless(p, chunkedHead, strings.Repeat("1\r\nx\r\n", 1000), "")
	}},
	{name: "h1-chunk-size-endless", play: func(p *player) error {
		return endless(p, chunkedHead, strings.Repeat("0", 16384), "")
	}},
	{name: "h1-trailers-endless", play: func(p *player) error {
		return endless(p, chunkedHead+"0\r\n", "", "X-T-%d: v\r\n")
	}},
	{name: "h1-body-endless", play: func(p *player) error {
		return endless(p, "POST /health HTTP/1.1\r\nHost: x\r\n"+
			"Content-Length: 4611686018427387904\r\n\r\n",
			strings.Repeat("b", 16384), "")
	}},
	{name: "h1-many-headers", play: func(p *player) error {
		return endless(p, "GET /health HTTP/1.1\r\nHost: x\r\n", "",
			"X-Many-%d: v\r\n")
	}},
	{name: "h1-huge-header", play: func(p *player) error {
		return endless(p, "GET /health HTTP/1.1\r\nHost: x\r\nX-Huge: ",
			strings.Repeat("h", 16384), "")
	}},
	{name: "h1-huge-name", play: func(p *player) error {
		return endless(p, "GET /health HTTP/1.1\r\nHost: x\r\nX-",
			strings.Repeat("n", 16384), "")
	}},
	{name: "h1-huge-line", play: func(p *player) error {
		return endless(p, "GET /", strings.Repeat("u", 16384), "")
	}},
	{name: "h1-blank-lines", play: func(p *player) error {
		return endless(p, "", strings.Repeat("\r\n", 8192), "")
	}},
	{name: "h1-pipeline", play: pipeline},
	{name: "h1-pipeline-unread", play: func(p *player) error {
		return endless(p, "", strings.Repeat(
			"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200), "")
	}},
}

const chunkedHead = "POST /health HTTP/1.1\r\nHost: x\r\n" +
	"Transfer-Encoding: chunked\r\n\r\n"

// endless sends a beginning and then either the same part, or numbered lines,
// until the server has had enough. With neither it keeps the connection.
func endless(p *player, first, part, line string) error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if first != "" {
		if _, err := conn.Write([]byte(first)); err != nil {
			return err
		}
	}
	for i := 0; !p.over() && (part != "" || line != ""); i++ {
		next := part
		if line != "" {
			var lines strings.Builder
			for j := range 500 {
				fmt.Fprintf(&lines, line, i*500+j)
			}
			next = lines.String()
		}
		if _, err := conn.Write([]byte(next)); err != nil {
			p.note(func(t *tally) { t.Cut++ })
			return err
		}
	}
	if part == "" && line == "" {
		if _, err := io.Copy(io.Discard, conn); !isTimeout(err) {
			p.note(func(t *tally) { t.Cut++ })
		}
	}
	return errOver
}

// pipeline sends requests without waiting, and reads all answers.
func pipeline(p *player) error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	many := strings.Repeat("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 100)
	for !p.over() {
		if _, err := conn.write([]byte(many), 100); err != nil {
			return err
		}
	}
	return errOver
}

// shape is a request that parties on its way could understand differently.
type shape struct {
	name string
	text string
	// refused: it mustn't be answered by a success. alone: at most one answer
	// may come, as what follows is part of the request for somebody.
	refused, alone bool
}

// hidden is a request of 34 bytes in what may be the body of another, and
// behind the end of chunks 39.
const hidden = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"

func post(fields, body string) string {
	return "POST /health HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n" + body
}

func get(fields string) string {
	return "GET /health HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n"
}

var smuggling = []shape{
	{"two lengths", post("Content-Length: 0\r\nContent-Length: 34\r\n", hidden),
		true, true},
	{"a list of lengths", post("Content-Length: 0, 34\r\n", hidden), true, true},
	{"length and chunked", post("Content-Length: 39\r\n"+
		"Transfer-Encoding: chunked\r\n", "0\r\n\r\n"+hidden), false, true},
	{"chunked and length", post("Transfer-Encoding: chunked\r\n"+
		"Content-Length: 5\r\n", "0\r\n\r\n"+hidden), false, true},
	{"chunked isn't last", post("Transfer-Encoding: chunked, identity\r\n",
		"0\r\n\r\n"+hidden), true, true},
	{"unknown coding", post("Transfer-Encoding: xchunked\r\n",
		"0\r\n\r\n"+hidden), true, true},
	{"chunked, spaced", post("Transfer-Encoding : chunked\r\n",
		"0\r\n\r\n"+hidden), true, true},
	{"chunked twice", post("Transfer-Encoding: chunked\r\n"+
		"Transfer-Encoding: identity\r\n", "0\r\n\r\n"+hidden), true, true},
	{"length with a sign", post("Content-Length: +0\r\n", hidden), true, true},
	{"length in hex", post("Content-Length: 0x22\r\n", hidden), true, true},
	{"length too large", post("Content-Length: 18446744073709551616\r\n",
		hidden), true, true},
	{"length below zero", post("Content-Length: -1\r\n", hidden), true, true},
	{"length of nothing", post("Content-Length: \r\n", hidden), true, true},
	{"chunk size too large", post("Transfer-Encoding: chunked\r\n",
		"10000000000000000\r\n"+hidden), true, true},
	{"chunk size with 0x", post("Transfer-Encoding: chunked\r\n",
		"0x0\r\n\r\n"+hidden), true, true},
	{"chunk size below zero", post("Transfer-Encoding: chunked\r\n",
		"-1\r\n\r\n"+hidden), true, true},
	{"body of a GET", "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 34" +
		"\r\n\r\n" + hidden, false, true},
}

var shapes = []shape{
	{"space before colon", get("X-Space : 1\r\n"), true, true},
	{"space before name", "GET /health HTTP/1.1\r\n Host: x\r\n\r\n", true, true},
	{"NUL in a value", get("X-Nul: a\x00b\r\n"), true, true},
	{"NUL in a name", get("X-\x00: 1\r\n"), true, true},
	{"CR in a value", get("X-Cr: a\rb\r\n"), true, true},
	{"no colon", get("nothing\r\n"), true, true},
	{"no name", get(": 1\r\n"), true, true},
	{"two hosts", get("Host: y\r\n"), true, true},
	{"bare LF", "GET /health HTTP/1.1\nHost: x\n\n", false, true},
	{"folded", get("X-Fold: a\r\n b\r\n"), false, true},
	{"version 1.2345", "GET /health HTTP/1.2345\r\nHost: x\r\n\r\n", true, true},
	{"version 3", "GET /health HTTP/3.0\r\nHost: x\r\n\r\n", true, true},
	{"method of nothing", " /health HTTP/1.1\r\nHost: x\r\n\r\n", true, true},
	{"NUL in the path", "GET /hea\x00lth HTTP/1.1\r\nHost: x\r\n\r\n", true, true},
	{"space in the path", "GET /health x HTTP/1.1\r\nHost: x\r\n\r\n", true, true},
	{"long method", strings.Repeat("M", 60000) + " / HTTP/1.1\r\n\r\n", true, true},
	{"upgrade", get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" +
		"HTTP2-Settings: AAMAAABkAAQAAP__\r\n"), false, true},
	{"expect", post("Expect: 100-continue\r\nContent-Length: 5\r\n", ""), false,
		false},
	{"connect", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", true, true},
}

// shapes sends each in turn, and judges what comes back.
func (p *player) shapes(all []shape) error {
	for !p.over() {
		if err := p.shape(all[int(p.round.Add(1))%len(all)]); err != nil {
			return err
		}
	}
	return errOver
}

func (p *player) shape(s shape) error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	// What is refused before it was read as a whole may cut the rest off.
	_, _ = conn.Write([]byte(s.text))
	answers := p.answers(conn)
	if s.refused && len(answers) > 0 && answers[0] < 400 {
		p.wrong("%q answered by %d", s.name, answers[0])
	}
	if s.alone && len(answers) > 1 {
		p.wrong("%q answered %d times", s.name, len(answers))
	}
	return nil
}

// answers are the statuses that come until the server closes, or says nothing
// for a while.
func (p *player) answers(conn *pacedConn) []int {
	var found []int
	in := bufio.NewReader(conn)
	for len(found) < 5 {
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			break
		}
		_, err = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		found = append(found, r.StatusCode)
		if err != nil {
			break
		}
	}
	return found
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// settle is how long work that a request has left behind is waited for and
// counted: both programs write to their store within 100 ms.
const settle = 300 * time.Millisecond

// measured runs f, which makes n requests, and fills in the CPU of each.
func measured(s *server, n int, f func() (sample, error)) (sample, error) {
	before, err := s.cpu()
	if err != nil {
		return sample{}, err
	}
	out, err := f()
	if err != nil {
		return sample{}, err
	}
	time.Sleep(settle)
	after, err := s.cpu()
	if err != nil {
		return sample{}, s.alive()
	}
	out.cpu = float64(after-before) / float64(time.Microsecond) / float64(n)
	return out, nil
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(name),
			strings.Join(args, " "), err, out[max(0, len(out)-800):])
	}
	return string(out), nil
}

var (
	benchRate       = regexp.MustCompile(`Requests/sec:\s+([0-9.e+-]+)`)
	benchPercentile = regexp.MustCompile(`(50|95|99)% in ([0-9.e+-]+) secs`)
	loadRate        = regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`)
	loadTraffic     = regexp.MustCompile(`, [^ ]+ \((\d+)\) data`)
)

// benchmark runs etcd's load generator. What it reports in two parts, reads
// and writes, is added up; the latencies are those of the last part, writes.
func benchmark(ctx context.Context, b *bench, s *server, conns, clients,
	total int, args ...string) (sample, error) {
	args = append([]string{"--endpoints", s.endpoints(), "--precise",
		"--conns", strconv.Itoa(conns), "--clients", strconv.Itoa(clients)},
		append(args, "--total", strconv.Itoa(total))...)
	return measured(s, total, func() (sample, error) {
		var out sample
		text, err := run(ctx, b.tool("benchmark"), args...)
		if err != nil {
			return out, err
		}
		if i := strings.Index(text, "Error distribution"); i >= 0 {
			return out, fmt.Errorf("benchmark: %.300s", text[i:])
		}
		for _, m := range benchRate.FindAllStringSubmatch(text, -1) {
			rate, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return out, err
			}
			out.rate += rate
		}
		at := map[string]int{"50": 0, "95": 1, "99": 2}
		for _, m := range benchPercentile.FindAllStringSubmatch(text, -1) {
			seconds, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				return out, err
			}
			out.p[at[m[1]]] = seconds * 1000
		}
		if out.rate == 0 || out.p[2] == 0 {
			return out, fmt.Errorf("benchmark printed no result:\n%s", text)
		}
		return out, nil
	})
}

// h2load sends the same gRPC request again and again.
func h2load(ctx context.Context, s *server, path string, body []byte,
	total int) (sample, error) {
	c, err := dial(s.addr)
	if err != nil {
		return sample{}, err
	}
	reply, err := c.unary(ctx, path, body)
	c.close()
	if err != nil {
		return sample{}, err
	}
	file := filepath.Join(s.dir, "body")
	log := filepath.Join(s.dir, "requests")
	framed := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	if err := os.WriteFile(file, append(framed, body...), 0o600); err != nil {
		return sample{}, err
	}
	defer os.Remove(log)
	return measured(s, total, func() (sample, error) {
		text, err := run(ctx, "h2load", "-n", strconv.Itoa(total), "-c", "100",
			"-m", "10", "-d", file, "-H", "content-type: application/grpc",
			"-H", "te: trailers", "--log-file", log,
			"http://"+s.addr+path)
		if err != nil {
			return sample{}, err
		}
		return h2loadResult(text, log, total, len(reply)+5)
	})
}

// h2loadResult reads what h2load printed. A failed gRPC call has HTTP's 200,
// but no message: the bytes received tell.
func h2loadResult(text, log string, total, replySize int) (out sample,
	err error) {
	rate := loadRate.FindStringSubmatch(text)
	data := loadTraffic.FindStringSubmatch(text)
	if rate == nil || data == nil {
		return out, fmt.Errorf("h2load printed no result:\n%s", text)
	}
	out.rate, err = strconv.ParseFloat(rate[1], 64)
	if err != nil {
		return out, err
	}
	received, err := strconv.Atoi(data[1])
	if err != nil {
		return out, err
	}
	if received < total*replySize {
		return out, fmt.Errorf("%d calls brought %d bytes, expected %d each",
			total, received, replySize)
	}
	raw, err := os.ReadFile(log)
	if err != nil {
		return out, err
	}
	var lasted []time.Duration
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		columns := strings.Split(lines.Text(), "\t")
		if len(columns) < 3 || columns[1] != "200" {
			return out, fmt.Errorf("h2load logs %q", lines.Text())
		}
		us, err := strconv.Atoi(columns[2])
		if err != nil {
			return out, err
		}
		lasted = append(lasted, time.Duration(us)*time.Microsecond)
	}
	if len(lasted) != total {
		return out, fmt.Errorf("h2load made %d of %d calls", len(lasted), total)
	}
	out.p = percentiles(lasted)
	return out, nil
}

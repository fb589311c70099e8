package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func firstLine(path, prefix string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, " \t:"))
		}
	}
	return "unknown"
}

func said(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// disk names the file system and device that hold a directory.
func disk(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "unknown"
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	best, found := "", "unknown"
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < len(best) {
			continue
		}
		if f[1] == "/" || dir == f[1] || strings.HasPrefix(dir, f[1]+"/") {
			best, found = f[1], f[2]+" on "+f[0]
		}
	}
	return found
}

// syncTime is how long a small synced append to a file takes, the median.
func syncTime(dir string) string {
	f, err := os.CreateTemp(dir, "sync")
	if err != nil {
		return "unknown"
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 512)
	if f.Truncate(1<<20) != nil || f.Sync() != nil {
		return "unknown"
	}
	var lasted []float64
	for range 200 {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return "unknown"
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return "unknown"
		}
		lasted = append(lasted, float64(time.Since(began).Microseconds()))
	}
	return fmt.Sprintf("%.0f us", median(lasted))
}

func (b *bench) machine() []string {
	memory, _ := strconv.ParseFloat(strings.TrimSuffix(
		firstLine("/proc/meminfo", "MemTotal"), " kB"), 64)
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return []string{
		fmt.Sprintf("%s, %d cores, %.0f GB; Linux %s; %s, an fdatasync of "+
			"512 B takes %s", firstLine("/proc/cpuinfo", "model name"),
			runtime.NumCPU(), memory/1e6, strings.TrimSpace(string(kernel)),
			disk(b.dir), syncTime(b.dir)),
		fmt.Sprintf("chorad %s; %s; %s; benchmark of etcd 3.6; %s",
			said("git", "-C", b.root, "describe", "--always", "--dirty"),
			said(b.tool("etcd"), "--version"), runtime.Version(),
			said("h2load", "--version")),
	}
}

// busy is the processor time spent by everyone, and by this program and what
// it has started and waited for.
type busy struct{ all, own, idle time.Duration }

func busyNow() (b busy) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line) {
		ticks, _ := strconv.ParseInt(f, 10, 64)
		spent := time.Duration(ticks) * (time.Second / clockTicks)
		switch i {
		case 1, 2, 3, 6, 7, 8:
			b.all += spent
		case 4, 5:
			b.idle += spent
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			b.own += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return b
}

// others is the share of the processors that went to other programs.
func others(from, to busy) float64 {
	all, own := to.all-from.all, to.own-from.own
	total := all + to.idle - from.idle
	if total <= 0 || all < own {
		return 0
	}
	return float64(all-own) / float64(total)
}

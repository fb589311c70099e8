package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// insideVar tells the program that it runs in namespaces of its own.
const insideVar = "CHORAD_FAULTS_INSIDE"

// enclose runs this program again in namespaces of its own, of the network,
// mounts and processes: whatever happens to it, they go with it, and with
// them all that was made in them. It gives the exit code.
func enclose() (int, error) {
	dir, err := os.MkdirTemp("", "chorad-faults-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVar+"=1", "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS |
			syscall.CLONE_NEWPID}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{
			{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{
			{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	runtime.LockOSThread() // Pdeathsig goes by the thread
	if err := cmd.Start(); err != nil {
		return 3, fmt.Errorf("no namespaces of its own: %w", err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// furnish makes the namespaces usable: names of network namespaces, /proc and
// what is mounted are nobody else's.
func furnish() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE,
		""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return run("ip", "link", "set", "lo", "up")
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}

// smallDisk mounts a file system of its own.
func smallDisk(dir string, megabytes int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0,
		fmt.Sprintf("size=%dm", megabytes))
	if err != nil {
		return fmt.Errorf("mount %s: %w", filepath.Base(dir), err)
	}
	return nil
}

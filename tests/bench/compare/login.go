package main

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"
)

// loginTimeout is etcdctl's for a command.
const loginTimeout = 5 * time.Second

// loginWorks are log-ins at a fixed rate, each on a connection of its own, and
// puts beside them, while other programs take what they can of the processors.
func loginWorks() []work {
	var all []work
	for _, loops := range []int{0, 4, 8} {
		for _, perSecond := range []int{1, 4, 16} {
			name := fmt.Sprintf("login-%d-%d", loops, perSecond)
			where := fmt.Sprintf("%d log-ins a second beside %d busy loops: ",
				perSecond, loops)
			all = append(all, work{name: name, group: "login", asked: true,
				rows: []row{{name: name, title: where + "log-ins"},
					{name: name + "-puts", title: where + "100 puts a second"}},
				run: func(ctx context.Context, b *bench, s *server) (samples,
					error) {
					logins, puts, err := logins(ctx, b, s, loops, perSecond)
					return samples{name: logins, name + "-puts": puts}, err
				}})
		}
	}
	return all
}

// enableAuth makes root, with whose rights all is done.
func enableAuth(ctx context.Context, s *server) error {
	c, err := dial(s.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for _, one := range []struct {
		path string
		body []byte
	}{{pathUserAdd, putRequest(nil, []byte("root"), []byte("r"))},
		{pathGrantRole, putRequest(nil, []byte("root"), []byte("root"))},
		{pathAuthEnable, nil}} {
		if _, err = c.unary(ctx, one.path, one.body); err != nil {
			return err
		}
	}
	return nil
}

// login is what a client does that has a name and a password.
func login(ctx context.Context, s *server) (token string, err error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	c, err := dial(s.addr)
	if err != nil {
		return "", err
	}
	defer c.close()
	reply, err := c.unary(ctx, pathAuthenticate,
		putRequest(nil, []byte("root"), []byte("r")))
	if err == nil {
		token, err = authToken(reply)
	}
	return token, err
}

// busyLoops are other programs; end ends them.
func busyLoops(n int) (end func(), err error) {
	var all []*exec.Cmd
	end = func() {
		for _, loop := range all {
			_ = loop.Process.Kill()
			_ = loop.Wait()
		}
	}
	for range n {
		loop := exec.Command("sh", "-c", "while :; do :; done")
		if err = loop.Start(); err != nil {
			end()
			return nil, err
		}
		all = append(all, loop)
	}
	return end, nil
}

func logins(ctx context.Context, b *bench, s *server, loops, perSecond int) (
	logged, put sample, err error) {
	if err = enableAuth(ctx, s); err != nil {
		return logged, put, err
	}
	token, err := login(ctx, s)
	if err != nil {
		return logged, put, err
	}
	end, err := busyLoops(loops)
	if err != nil {
		return logged, put, err
	}
	defer end()
	puts, err := startSteady(s.addr, 100, 1000, token)
	if err != nil {
		return logged, put, err
	}
	began := time.Now()
	logged = loginsAt(ctx, s, perSecond, b.loginFor)
	took, failed := puts.take()
	lasted := time.Since(began)
	end()
	err = puts.finish()
	put = sample{rate: float64(len(took)) / lasted.Seconds(),
		p: percentiles(took), failed: failed}
	return logged, put, err
}

// loginsAt counts each from when it was due, and one that fails as long as it
// took to.
func loginsAt(ctx context.Context, s *server, perSecond int,
	lasting time.Duration) sample {
	var mu sync.Mutex
	var took []time.Duration
	var left sync.WaitGroup
	var out sample
	began := time.Now()
	n := int(lasting.Seconds() * float64(perSecond))
	for i := range n {
		due := began.Add(time.Duration(i) * time.Second /
			time.Duration(perSecond))
		pause(time.Until(due))
		left.Go(func() {
			_, err := login(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
			if err != nil {
				out.failed++
			}
		})
	}
	left.Wait()
	out.rate = float64(n-out.failed) / time.Since(began).Seconds()
	out.p = percentiles(took)
	return out
}

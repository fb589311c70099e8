package main

import (
	"errors"
	"fmt"
	"testing"
)

// bench is what the harness wants of a test, for a program that isn't one:
// Fatal panics with the reason, clean-ups and what failed wait for close.
type bench struct {
	testing.TB
	cleanups []func()
	errs     []error
}

type fatal string

func (f fatal) Error() string { return string(f) }

func (b *bench) Helper()                         {}
func (b *bench) Failed() bool                    { return false }
func (b *bench) Cleanup(what func())             { b.cleanups = append(b.cleanups, what) }
func (b *bench) Logf(format string, args ...any) {}
func (b *bench) Fatal(args ...any)               { panic(fatal(fmt.Sprint(args...))) }
func (b *bench) Errorf(format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf(format, args...))
}
func (b *bench) Fatalf(format string, args ...any) {
	panic(fatal(fmt.Sprintf(format, args...)))
}

func (b *bench) close() error {
	for len(b.cleanups) > 0 {
		last := b.cleanups[len(b.cleanups)-1]
		b.cleanups = b.cleanups[:len(b.cleanups)-1]
		last()
	}
	return errors.Join(b.errs...)
}

// guard turns a Fatal of the harness into an error.
func guard(what func() error) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			f, ok := reason.(fatal)
			if !ok {
				panic(reason)
			}
			err = f
		}
	}()
	return what()
}

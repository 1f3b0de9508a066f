// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// burned is what a burning function knows of where it was and what that cost.
type burned struct {
	Early   float64  `json:"early"`   // seconds that burnEarly took, by the clock of the wall
	Seconds float64  `json:"seconds"` // of processor time that burnLate took
	Stack   []string `json:"stack"`   // the functions, the innermost first
	File    string   `json:"file"`
	Line    int      `json:"line"` // of the call of spin
	Spin    int      `json:"spin"` // the line where spin begins
}

// burn burns processor time for the milliseconds in the query parameter early, sleeps for
// those in sleep and burns for those in late, in another function. 10 s each at most.
func burn(w http.ResponseWriter, r *http.Request) string {
	var waits [3]time.Duration
	for i, name := range []string{"early", "sleep", "late"} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		ms, err := strconv.Atoi(text)
		waits[i] = time.Duration(ms) * time.Millisecond
		if err != nil || waits[i] < 0 || waits[i] > maxSlow {
			http.Error(w, fmt.Sprintf("%s must be 0 to 10000", name), http.StatusBadRequest)
			return "400"
		}
	}
	began := time.Now()
	burnEarly(waits[0])
	early := time.Since(began)
	time.Sleep(waits[1])
	b := inlined(waits[2])
	b.Early = early.Seconds()
	writeJSON(w, b)
	return "200"
}

// background goes on to burn for the milliseconds in the query parameter ms after it has
// answered.
func background(w http.ResponseWriter, r *http.Request) string {
	ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
	wait := time.Duration(ms) * time.Millisecond
	if err != nil || wait < 0 || wait > maxSlow {
		http.Error(w, "ms must be 0 to 10000", http.StatusBadRequest)
		return "400"
	}
	go burnInBackground(wait)
	return "200"
}

// inlined is part of its caller, and yet has a place of its own in a stack.
func inlined(wait time.Duration) burned { return burnLate(wait) }

//go:noinline
func burnEarly(wait time.Duration) burned { return burnFor(wait) }

//go:noinline
func burnLate(wait time.Duration) burned { return burnFor(wait) }

//go:noinline
func burnInBackground(wait time.Duration) burned { return burnFor(wait) }

// burnFor burns processor time in spin and tells how it came there.
//
//go:noinline
func burnFor(wait time.Duration) (b burned) {
	runtime.LockOSThread() // whose time it is
	defer runtime.UnlockOSThread()
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		b.Stack = append(b.Stack, f.Function)
	}
	_, b.File, b.Line, _ = runtime.Caller(0)
	for began := threadTime(); b.Seconds < wait.Seconds(); b.Seconds = (threadTime() - began).Seconds() {
		spin(200000)
	}
	b.Line += 2 // the call of spin
	_, b.Spin = runtime.FuncForPC(reflect.ValueOf(spin).Pointer()).FileLine(reflect.ValueOf(spin).Pointer())
	return b
}

// spin has no frame on the stack, as it calls nothing.
//
//go:noinline
func spin(n int) (sum int) {
	for i := 0; i < n; i++ {
		sum = sum*31 ^ i
	}
	return sum
}

// threadTime is the processor time of the thread.
func threadTime() time.Duration {
	const thread = 1 // RUSAGE_THREAD, getrusage(2)
	var usage syscall.Rusage
	if err := syscall.Getrusage(thread, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

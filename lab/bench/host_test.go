// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
	"time"
)

func TestWorkloads_do_their_work(t *testing.T) {
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			if err := w.run(640); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMachineTime_grows_by_what_this_process_uses(t *testing.T) {
	before, err := machineTime()
	if err != nil {
		t.Fatal(err)
	}
	ownBefore, err := processorTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline); {
	}
	own, err := processorTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after, err := machineTime()
	if err != nil {
		t.Fatal(err)
	}
	// Each is counted in steps of 10 ms.
	if grown, used := after-before, own-ownBefore; grown+20*time.Millisecond < used {
		t.Errorf("the machine has worked for %v, this process alone for %v", grown, used)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// connect sends requests to a server, each on a connection of its own that the
// server closes, so that the client's ports don't stay in TIME_WAIT.
func connect(address, path string, requests int) error {
	message := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, address)
	errs := make([]error, loadConnections)
	var running sync.WaitGroup
	for worker := range loadConnections {
		running.Go(func() {
			for i := worker; i < requests && errs[worker] == nil; i += loadConnections {
				errs[worker] = connectOnce(address, message)
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func connectOnce(address, message string) error {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, message); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("HTTP/1.1 %d ", http.StatusOK); !strings.HasPrefix(string(answer), want) {
		return fmt.Errorf("answered with %.60q, want %q", answer, want)
	}
	return nil
}

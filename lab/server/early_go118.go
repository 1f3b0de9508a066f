// SPDX-License-Identifier: Apache-2.0

//go:build !go1.19

package main

import "net/http"

// sendEarlyHints does nothing: before Go 1.19 WriteHeader takes 103 for the final
// status.
func sendEarlyHints(http.ResponseWriter) {}

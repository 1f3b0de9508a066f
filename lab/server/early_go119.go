// SPDX-License-Identifier: Apache-2.0

//go:build go1.19

package main

import "net/http"

func sendEarlyHints(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) }

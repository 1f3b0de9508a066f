// SPDX-License-Identifier: Apache-2.0

//go:build !go1.23

package main

import "net/http"

const canFillPattern = false

// fillPattern is never called: Request.Pattern came with Go 1.23.
func fillPattern(*http.Request, route) {}

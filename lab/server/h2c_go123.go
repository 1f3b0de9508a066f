// SPDX-License-Identifier: Apache-2.0

//go:build !go1.24

package main

import (
	"errors"
	"net/http"
)

// enableH2C refuses: http.Server.Protocols came with Go 1.24.
func enableH2C(*http.Server) error {
	return errors.New("h2c needs a server built with Go 1.24 or newer")
}

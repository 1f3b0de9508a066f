// SPDX-License-Identifier: Apache-2.0

//go:build go1.24

package main

import "net/http"

// enableH2C lets clients start with HTTP/2 on a connection without TLS.
func enableH2C(srv *http.Server) error {
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return nil
}

// SPDX-License-Identifier: Apache-2.0

//go:build go1.23

package main

import "net/http"

const canFillPattern = true

// fillPattern does what routers such as chi do since Request.Pattern exists. They
// write the template alone, where ServeMux writes method and template.
func fillPattern(r *http.Request, rt route) { r.Pattern = rt.path }

// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"net/netip"
	"time"
)

// Connection is a live connection of a Go HTTP server. What is not known is not there.
type Connection struct {
	Service string `json:"service"`
	PID     uint32 `json:"pid"`
	FD      int    `json:"fd"`
	Inode   uint32 `json:"inode"`
	// Cookie is the kernel's name for the socket, as ss -e shows it in hexadecimal: no
	// two sockets of one boot have the same.
	Cookie string         `json:"cookie"`
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// State is that of TCP, such as established or close_wait.
	State string `json:"state"`
	// ClosedBy is "client" or "server", whoever has sent its FIN first.
	ClosedBy string `json:"closed_by,omitempty"`
	// Received and Acknowledged are bytes from the client and those that it has
	// acknowledged; Unread and Unacknowledged wait in the socket.
	Received       uint64 `json:"received_bytes"`
	Acknowledged   uint64 `json:"acknowledged_bytes"`
	Unread         uint32 `json:"unread_bytes"`
	Unacknowledged uint32 `json:"unacknowledged_bytes"`
	// Opened is when the handshake ended, Accepted when accept() returned it.
	Opened   time.Time `json:"opened,omitzero"`
	Accepted time.Time `json:"accepted,omitzero"`
	// Requests is how many have reached a handler, since the exporter sees the connection.
	Requests uint32 `json:"requests"`
	// Request is when the handler of the present request began, of several the oldest.
	Request time.Time `json:"request_since,omitzero"`
	// Goroutine serves the connection, or waits for it.
	Goroutine *Goroutine `json:"goroutine,omitempty"`
}

// Goroutine is what the runtime of Go notes of a goroutine.
type Goroutine struct {
	ID         uint64 `json:"id"`
	Parent     uint64 `json:"parent,omitempty"` // since Go 1.21
	Status     string `json:"status"`
	WaitReason string `json:"wait_reason,omitempty"`
	CreatedBy  string `json:"created_by"`
}

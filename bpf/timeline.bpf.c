//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * The stages of every request, from the SYN to the first packet of the response.
 * It has no program of its own: the maps in connection.h are filled by the programs of
 * accept, http and socketio, which see all that there is to see.
 */
#include "connection.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

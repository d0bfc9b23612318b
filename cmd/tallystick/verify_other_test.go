//go:build !linux

package main

import "os"

// withoutSockets needs Linux.
func withoutSockets() { os.Exit(125) }

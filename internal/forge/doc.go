// Package forge makes good evidence for tests: keys, logs, witnesses, certificate
// authorities, entries and bundles in every form that package verify reads. Nothing of it
// comes from verify, so that a mistake there is not made here again.
//
// All of it is a function of the names it is made with: keys come from a hash of their
// name, and ECDSA signatures are deterministic (RFC 6979). What is made is made as JSON
// trees (see Node), so that a test can change any part of it.
//
// Its keys are public. It is for tests only, and panics where it is misused.
package forge

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

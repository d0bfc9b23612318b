// Package e2e holds tests only: the real tallystick binary, used by clients that
// other people wrote. cosign, rekor-cli, rekor's Go packages and sigstore-go know
// nothing of this project, so an answer that they accept is right, and an answer
// that they refuse is wrong, whatever our own code thinks of it.
//
// It is a module of its own, so that what it requires never reaches a user of the
// root module. The client programs are built by `make e2e-tools`. Tests with the tag kubernetes take more of
// them: `make e2e-kubernetes` builds those and runs these.
package e2e

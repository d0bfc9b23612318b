// Package differential asks package verify and sigstore-go the same questions about
// the same bundles: good ones, for their speed, and altered ones, of which verify must
// accept none that sigstore-go refuses.
package differential

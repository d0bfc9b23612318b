// Package admission decides which container images a Kubernetes cluster runs: those that a policy
// exempts, and those whose signatures and attestations package verify proves, offline. The log is never
// asked; the registry is asked for an image's digest, once, and for what is attached to that digest.
//
// A [Server] answers a mutating webhook, which replaces tags by the digests that were verified; a validating
// webhook, which refuses images without a digest and verifies the others again, so that what runs is what was
// verified; and Gatekeeper as an external data provider. Every error denies: a registry that is away, a
// deadline, a panic, an object that cannot be read or is of an unknown kind. The answer comes within 80 % of the
// time that the caller waits.
//
// Requests, reading from registries, and their memory are shared, so that no namespace and no registry takes it all.
//
// Nothing that users of the cluster can write (labels, annotations, names) switches a check off: the
// exceptions are in the server's own [Policy].
package admission

// Package trust writes down whom verifiers of a log should believe, in the forms that
// they read: Sigstore's trusted root and signing config, resources for policy-controller
// and Kyverno, and a TUF repository that delivers them.
//
// Everything is made from a [verify.Material]; package verify reads it back from a trusted
// root. All functions are pure, except those of [Repository], which read and write the
// folders that they are given.
package trust

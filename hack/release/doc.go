// SPDX-License-Identifier: Apache-2.0

// Release builds what a release consists of into dist/: an archive of each program for each platform with a list of
// what it is made of (SBOM), the manifests, and SHA256SUMS. docs/releasing.md says how to use it.
//
// Two runs at one commit with one version of Go write the same bytes, wherever the folder is and whatever is set around
// it: times are those of the commit, archives are sorted and belong to nobody, and of Go's settings only those that say
// where to get modules count. It must never publish anything, and never build from a tree with changes unless it is
// asked to.
package main

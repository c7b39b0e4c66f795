// SPDX-License-Identifier: Apache-2.0

// Package docs runs the commands of README.md and docs/. A fenced `sh` block with the comment <!-- tested --> in front
// of it is run by bash as it stands, in a folder that looks like a clone after `make build`; one with <!-- tested:
// server --> is the server that the blocks after it talk to. The lines of a `text` block behind a tested one must be in
// what it printed. Pages that need a cluster are run by hack/e2e, through the same Terminal. The package must never
// change the text of a command, but for the addresses, which are free ones.
package docs

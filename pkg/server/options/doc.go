// SPDX-License-Identifier: Apache-2.0

// Package options owns the flags of secret-apiserver: their names, defaults, help and validation. Where upstream's
// options are used, each flag is selected by name, so that the binary shows only flags that it honours.
//
//	NewOptions -> Flags -> Complete -> Validate
//
// It must never do I/O: pkg/server reads the files and opens the ports that flags name.
package options

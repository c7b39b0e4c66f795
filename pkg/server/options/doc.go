// SPDX-License-Identifier: Apache-2.0

// Package options turns flags into the configuration of the API server, one file for each concern. The binary shows
// only flags that it honours: where upstream's options are used, each flag is taken by name.
//
//	NewOptions -> Flags -> Complete (no I/O) -> Validate -> Config
package options

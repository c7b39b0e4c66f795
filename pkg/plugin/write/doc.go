// SPDX-License-Identifier: Apache-2.0

// Package write has the commands `create` and `set`. It must never print a value, but for the one that --generate --show-once made.
package write

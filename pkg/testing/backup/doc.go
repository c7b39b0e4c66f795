// SPDX-License-Identifier: Apache-2.0

// Package backup tests backups as an operator makes and restores them: by commands, of real servers under load, with
// files that were cut, edited or never were a backup.
package backup

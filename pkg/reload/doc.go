// SPDX-License-Identifier: Apache-2.0

// Package reload keeps the content of an operator's file in force while the server runs.
//
// It polls the content of a file, which works for editors that rename, mounted Secrets and ConfigMaps, and network file
// systems. New content is applied once two reads in a row agree, so that a partly written file is never used. After an
// invalid change the last valid content stays. SIGHUP triggers an immediate check.
//
// It also owns the rule on access to such files, ReadFile: permissions are not read from a file that other users can
// change, nor credentials from one that every user can read.
//
// It must never keep content (it may contain keys or tokens), and never put it into an error or a log line.
package reload

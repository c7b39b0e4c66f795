// SPDX-License-Identifier: Apache-2.0

// Package reload keeps the content of an operator's file in force while the server runs.
//
// It owns one way to watch a file: its content is read again and again and compared, which is right for editors that
// rename, for mounted Secrets and ConfigMaps and for network file systems. New content is applied once two reads in a
// row agree, so that a file caught half written is never used. When it is refused, the last good content stays. SIGHUP
// asks for a look at once.
//
// It owns the rule on access to such files too, ReadFile: what decides who may do what is not taken from a file that other
// users can change, nor credentials from one that everybody can read.
//
// It must never keep a content (it may hold keys or tokens), and never put one into an error or a log line.
package reload

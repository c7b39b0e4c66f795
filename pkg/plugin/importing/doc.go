// SPDX-License-Identifier: Apache-2.0

// Package importing has the command `import`: core Secrets, the files of a folder or the lines of a .env file become secure values.
//
// It only creates. What exists is left as it is, so a run that broke off is run again. It must never overwrite or delete anything,
// never change a byte of a value but for --trim-newline, and never print one.
package importing

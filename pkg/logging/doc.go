// SPDX-License-Identifier: Apache-2.0

// Package logging holds what the programs have in common beside k8s.io/component-base/logs: the flags they show of it, and
// the last line of a program that ends with an error.
package logging

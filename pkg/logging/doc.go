// SPDX-License-Identifier: Apache-2.0

// Package logging owns what the programs share besides k8s.io/component-base/logs: the selection of its flags, and the
// last line of a program that ends with an error.
package logging

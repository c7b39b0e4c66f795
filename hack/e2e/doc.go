// SPDX-License-Identifier: Apache-2.0

// Package e2e
package e2e

// SPDX-License-Identifier: Apache-2.0

// Package lint pins golangci-lint in a separate module, so that its dependencies stay out of the server's go.mod.
// hack/lint.sh builds it. It holds no code.
package lint

// SPDX-License-Identifier: Apache-2.0

// Package sbom pins cyclonedx-gomod, which lists what a released binary is made of, in a separate module, so that its
// dependencies stay out of the server's go.mod. hack/release.sh builds it. It holds no code.
package sbom

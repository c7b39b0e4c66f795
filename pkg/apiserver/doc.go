// SPDX-License-Identifier: Apache-2.0

// Package apiserver assembles the API server: scheme and codecs, the filters around the handlers, and the API groups.
// It takes a finished generic configuration (see pkg/server/options) and adds only what is this project's own. It
// must never install a storage for SecureValue that was not built by pkg/registry/securevalue.
package apiserver

// SPDX-License-Identifier: Apache-2.0

package docs

// ClusterPages are the pages whose marked blocks need a cluster. hack/e2e runs them; all others are run here.
var ClusterPages = []string{"docs/examples/migrate/README.md", "docs/examples/restarter/README.md"}

// SPDX-License-Identifier: Apache-2.0

// Package observe tests what an operator watches the server with: the metrics of docs/metrics.md, the rules of
// config/alerts and the dashboard of config/dashboards.
//
// The page is compared with the /metrics of a real server. With the build tag observe (`make test-observe`) a real
// Prometheus scrapes such a server over TLS, as docs/metrics.md says, and evaluates every query.
package observe

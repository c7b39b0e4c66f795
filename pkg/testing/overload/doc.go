// SPDX-License-Identifier: Apache-2.0

// Package overload sends the real server more than it can take: floods of bodies of the largest size, parser bombs,
// slow readers and writers, thousands of watches, HTTP/2 resets, callers without credentials. Meanwhile somebody else
// works. What is asserted is memory, in bytes, that the others are served, and that refused clients are told so: 413,
// 429 with Retry-After. The package must never assert a duration.
//
// OVERLOAD=N in the environment multiplies the load; `make overload` is the long run.
package overload

// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package audit

import (
	"errors"
	"os"
)

// preallocate is for Linux.
func preallocate(*os.File, int64) error { return errors.ErrUnsupported }

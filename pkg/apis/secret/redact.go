// SPDX-License-Identifier: Apache-2.0

package secret

import "encoding/json"

// MarshalJSON leaves the value out. The hub never travels: only loggers and error texts marshal it, and klog marshals
// every structure that it is given. An encoder used on the hub by mistake loses the value, and validation refuses it.
func (s SecureValueSpec) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Description string
		Decrypters  []string
	}{s.Description, s.Decrypters})
}

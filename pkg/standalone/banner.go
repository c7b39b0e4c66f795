// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"strings"
	"text/template"

	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

//go:embed banner.txt
var bannerText string

var bannerTemplate = template.Must(
	template.New("banner").Funcs(template.FuncMap{"quote": cli.Quote}).Parse(bannerText))

// Banner writes the addresses of the server, how to stop it and, at the first start, commands to try it in a POSIX
// shell. listen and decrypt are the addresses of the two ports; an empty decrypt is omitted.
func (d *Data) Banner(w io.Writer, listen, decrypt string) error {
	info := struct {
		*Data
		First                             bool
		Listen, DecryptListen, DecryptURL string
	}{Data: d, First: d.first, Listen: listen}
	if _, port, err := net.SplitHostPort(decrypt); err == nil {
		info.DecryptListen, info.DecryptURL = decrypt, serverURL(d.cfg.BindAddress, port)
	}
	var b strings.Builder
	if err := bannerTemplate.Execute(&b, info); err != nil {
		return fmt.Errorf("rendering the banner: %w", err)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

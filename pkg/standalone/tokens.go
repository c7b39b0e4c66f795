// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// giveToken returns the file with the token of the service. The file is written before the server learns the token: a
// crash in between leaves a file that the next call takes.
func (g *grant) giveToken() (file string, err error) {
	rows, err := readTokenRows(g.dir)
	if err != nil {
		return "", err
	}
	file = g.tokenFile
	if file == "" {
		file = filepath.Join(g.dir, "tokens", g.service+".token")
		if err := makeDir(filepath.Dir(file)); err != nil {
			return "", err
		}
	}
	token, err := readToken(file)
	if errors.Is(err, fs.ErrNotExist) {
		if g.tokenFile == "" && slices.ContainsFunc(rows, func(r tokenRow) bool { return r.user == g.service }) {
			return "", fmt.Errorf("--token-file: %s has a token in a file of another name: name that one, or a new "+
				"one for a second token", g.service)
		}
		token = newToken()
		err = atomicfile.WriteNew(file, []byte(token))
	}
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	at := slices.IndexFunc(rows, func(r tokenRow) bool { return r.token == token })
	if at < 0 {
		row := fmt.Sprintf("%s,%s,%s\n", token, g.service, g.service)
		return file, writeTokenRows(g.dir, append(rows, tokenRow{text: []byte(row)}))
	}
	if rows[at].user != g.service {
		return "", fmt.Errorf("--token-file: the token in %s belongs to another user: name another file", file)
	}
	return file, nil
}

// takeTokens removes the tokens of the service and the file that grant made by default.
func (g *grant) takeTokens() (removed int, err error) {
	rows, err := readTokenRows(g.dir)
	if err != nil {
		return 0, err
	}
	left := slices.DeleteFunc(slices.Clone(rows), func(r tokenRow) bool { return r.user == g.service })
	if removed = len(rows) - len(left); removed > 0 {
		if err := writeTokenRows(g.dir, left); err != nil {
			return 0, err
		}
	}
	if err := os.Remove(filepath.Join(g.dir, "tokens", g.service+".token")); !errors.Is(err, fs.ErrNotExist) {
		return removed, err
	}
	return removed, nil
}

// tokenRow is one record of tokens.csv, as it is written there.
type tokenRow struct {
	text        []byte
	token, user string
}

// readTokenRows returns no row without a file.
func readTokenRows(dir string) ([]tokenRow, error) {
	data, err := reload.ReadFile(TokenFile(dir), reload.Credentials)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(data) > 0 && !bytes.HasSuffix(data, []byte("\n")) {
		data = append(data, '\n')
	}
	reader := csv.NewReader(bytes.NewReader(data))
	reader.FieldsPerRecord = -1
	var rows []tokenRow
	for start := int64(0); ; {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil || len(record) < 2 { // the error may quote a token
			line, _ := reader.FieldPos(0)
			return nil, fmt.Errorf("%s: line %d is not token,user,uid: correct it", TokenFile(dir), line)
		}
		end := reader.InputOffset()
		rows = append(rows, tokenRow{text: data[start:end], token: record[0], user: record[1]})
		start = end
	}
}

func writeTokenRows(dir string, rows []tokenRow) error {
	var all []byte
	for _, row := range rows {
		all = append(all, row.text...)
	}
	return atomicfile.Replace(TokenFile(dir), all)
}

// readToken returns fs.ErrNotExist without a file.
func readToken(path string) (string, error) {
	data, err := reload.ReadFile(path, reload.Credentials)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsAny(token, " \t\r\n,\"") {
		return "", fmt.Errorf("%s does not hold one token: name a file that does not exist", path)
	}
	return token, nil
}

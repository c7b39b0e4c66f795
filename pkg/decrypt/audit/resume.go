// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"k8s.io/klog/v2"
)

// loadTimeout bounds how long a start waits for the published head.
const loadTimeout = 10 * time.Second

// fileState is what a start finds in one file.
type fileState struct {
	path string
	// exists is false for a file that is absent or has no complete line.
	exists bool
	// first and opening are its first line.
	first   uint64
	opening opening
	// last is the last authentic line; damaged: bad ones follow it.
	last    Head
	damaged bool
	// size counts the bytes of complete lines, torn those after them.
	size, torn int64
}

// resume continues the chain where the files on disk end, or starts one where there are none.
func (l *Log) resume(ctx context.Context) error {
	active, last, err := l.inspectFiles()
	if err != nil {
		return fmt.Errorf("reading the decrypt audit log: %w", err)
	}
	l.restoreState(last)
	if err := l.compareWithPublished(ctx, last); err != nil {
		return err
	}
	l.reportFault()
	if l.next.Torn, err = truncateTorn(active, last); err != nil {
		return fmt.Errorf("removing the unfinished last line of the decrypt audit log: %w", err)
	}
	if !active.exists || l.next.Reason != openStarted {
		return l.rotate()
	}
	if l.file, err = reopenFile(active.path, active.size); err != nil {
		return fmt.Errorf("opening the decrypt audit log: %w", err)
	}
	return l.writeOpening()
}

// inspectFiles returns the file at the path, and the last one with a line: an older one when the server ended in a
// rotation.
func (l *Log) inspectFiles() (active, last fileState, err error) {
	if active, err = inspect(l.config.Path, l.keys); err != nil || active.exists {
		return active, active, err
	}
	older, err := olderFiles(l.config.Path)
	if err != nil || len(older) == 0 {
		return active, fileState{}, err
	}
	last, err = inspect(older[len(older)-1].path, l.keys)
	return active, last, err
}

// inspect reads the two ends of a file, and all of it when its end is damaged.
func inspect(path string, keys *Keys) (fileState, error) {
	r := fileState{path: path}
	in, err := openReader(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer in.close()
	first, o, key, err := in.opening(keys)
	switch {
	case errors.Is(err, errTorn):
		r.torn = in.size
		return r, nil
	case errors.Is(err, errUnknownKey):
		return r, fmt.Errorf("%s: %w", path, err)
	case errors.Is(err, errLayout):
		// Without its first line a file has neither key nor place; the authentic lines of the rest count.
		r.exists = true
		err = r.scan(in, 0, keys.current())
		r.damaged = true
		return r, err
	case err != nil:
		return r, err
	}
	r.exists, r.first, r.opening = true, first.sequence, o
	from := max(0, in.size-2*maxLine)
	if err = r.scan(in, from, key); err == nil && from > 0 && (r.damaged || r.last == Head{}) {
		r.last = Head{}
		err = r.scan(in, 0, key)
	}
	return r, err
}

// scan sets last, damaged, size and torn from the lines after offset from.
func (r *fileState) scan(in *reader, from int64, key *key) error {
	r.size, r.damaged = from, false
	for l, err := range in.lines(from, key) {
		if errors.Is(err, errTorn) {
			break
		}
		if err != nil && !errors.Is(err, errLayout) {
			return err
		}
		r.size, r.damaged = l.end, err != nil
		if err == nil {
			r.last = l.head()
		}
	}
	r.torn = in.size - r.size
	return nil
}

// macOf returns the MAC of a line, false when the file has no authentic line of that number.
func (r *fileState) macOf(sequence uint64, keys *Keys) (mac MAC, ok bool, err error) {
	in, err := openReader(r.path)
	if err != nil {
		return MAC{}, false, err
	}
	defer in.close()
	key := keys.byID(r.opening.Key)
	for l, err := range in.lines(0, nil) {
		if err != nil && !errors.Is(err, errLayout) && !errors.Is(err, errTorn) {
			return MAC{}, false, err
		}
		if err == nil && l.sequence == sequence && key != nil && l.authentic(key) {
			return l.mac, true, nil
		}
	}
	return MAC{}, false, nil
}

// restoreState restores the chain state from the last file.
func (l *Log) restoreState(last fileState) {
	l.head, l.chain, l.since = last.last, last.opening.Chain, last.opening.Since
	switch {
	case !last.exists:
		l.next.Reason = openCreated
	case last.damaged:
		l.next.Reason = openDamaged
	case last.opening.Key != l.keys.current().id:
		l.next.Reason = openRekeyed
	default:
		l.next.Reason = openStarted
	}
	if l.chain == "" {
		l.chain = rand.Text()
	}
}

// compareWithPublished looks for the published head in the files. A log that lacks it was cut off or rewritten.
func (l *Log) compareWithPublished(ctx context.Context, last fileState) error {
	if l.config.Heads == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	published, ok, err := l.config.Heads.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the published head of the decrypt audit log: %w", err)
	}
	l.published = published
	switch {
	case !ok:
		return nil // the first start, or one with a new database: there is nothing to compare with
	case published.Sequence > l.head.Sequence:
		l.next.Reason = openCutOff
		l.next.Missing = &span{From: l.head.Sequence + 1, To: published.Sequence}
		l.head = published // numbers are never used twice
		return nil
	}
	mac, found, err := l.lookUp(last, published.Sequence)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		klog.ErrorS(nil, "The published head of the decrypt audit log cannot be compared: its file is missing",
			"path", l.config.Path, "head", published)
	case err != nil:
		return fmt.Errorf("reading the decrypt audit log: %w", err)
	case !found || mac != published.MAC:
		l.next.Reason = openRewritten
	}
	return nil
}

// lookUp returns the MAC of a line from the file that must hold it: fs.ErrNotExist without such a file.
func (l *Log) lookUp(last fileState, sequence uint64) (MAC, bool, error) {
	if last.first <= sequence {
		return last.macOf(sequence, l.keys)
	}
	older, err := olderFiles(l.config.Path)
	if err != nil {
		return MAC{}, false, err
	}
	for _, s := range slices.Backward(older) {
		if s.first > sequence {
			continue
		}
		holder, err := inspect(s.path, l.keys)
		if err != nil {
			return MAC{}, false, err
		}
		return holder.macOf(sequence, l.keys)
	}
	return MAC{}, false, fs.ErrNotExist
}

// reportFault logs that the log is not as this server left it.
func (l *Log) reportFault() {
	var text string
	switch l.next.Reason {
	case openCutOff:
		text = fmt.Sprintf("%v, published earlier, missing from the log: "+
			"it was cut off or deleted, or the disk lost its end", l.next.Missing)
	case openRewritten:
		text = "the line that was published last is not in the log as it was published: the log was rewritten"
	case openDamaged:
		text = "the last line was not written by this server, or was changed"
	default:
		return
	}
	klog.ErrorS(errors.New(text), "The decrypt audit log is not as this server left it; continuing in a new file",
		"path", l.config.Path, "instance", l.config.Instance)
}

// truncateTorn removes torn last lines, whose records were never acknowledged, and returns their length.
func truncateTorn(active, last fileState) (torn int64, err error) {
	files := []fileState{active}
	if last.path != active.path {
		files = append(files, last)
	}
	for _, r := range files {
		if r.torn == 0 {
			continue
		}
		klog.InfoS("Removed an unfinished last line of the decrypt audit log; nothing was released for it",
			"path", r.path, "bytes", r.torn)
		torn += r.torn
		if !r.exists {
			err = errors.Join(err, os.Remove(r.path))
			continue
		}
		f, openErr := openRegular(r.path, os.O_WRONLY)
		if openErr != nil {
			return torn, errors.Join(err, openErr)
		}
		err = errors.Join(err, f.Truncate(r.size), f.Sync(), f.Close())
	}
	return torn, err
}

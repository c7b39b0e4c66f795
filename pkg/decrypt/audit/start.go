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

// resume goes on where the files on disk end, or begins a chain where there are none.
func (l *Log) resume(ctx context.Context) error {
	active, err := inspect(l.config.Path, l.keys)
	if err != nil {
		return fmt.Errorf("reading the decrypt audit log: %w", err)
	}
	last := active
	if !active.exists {
		if last, err = l.newest(); err != nil {
			return fmt.Errorf("reading the decrypt audit log: %w", err)
		}
	}
	l.adopt(last)
	if err := l.compare(ctx, last); err != nil {
		return err
	}
	if err := l.judge(); err != nil {
		return err
	}
	if l.next.Torn, err = mend(active, last); err != nil {
		return fmt.Errorf("removing the unfinished last line of the decrypt audit log: %w", err)
	}
	if active.exists && l.next.Reason == openStarted {
		return l.goOn(active)
	}
	return l.begin()
}

// newest is the last of the older files, when the server ended between two files.
func (l *Log) newest() (remains, error) {
	older, err := segments(l.config.Path)
	if err != nil || len(older) == 0 {
		return remains{}, err
	}
	return inspect(older[len(older)-1].path, l.keys)
}

// adopt takes the state of the chain over from the file that ends it.
func (l *Log) adopt(last remains) {
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

// compare looks for the published head in the files. A log that lacks it was cut off or written anew.
func (l *Log) compare(ctx context.Context, last remains) error {
	if l.config.Heads == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	published, ok, err := l.config.Heads.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the published head of the decrypt audit log: %w", err)
	}
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
		klog.ErrorS(nil, "The published head of the decrypt audit log cannot be compared: the file that held it is gone",
			"path", l.config.Path, "head", published)
	case err != nil:
		return fmt.Errorf("reading the decrypt audit log: %w", err)
	case !found || mac != published.MAC:
		l.next.Reason = openRewritten
	}
	return nil
}

// lookUp finds the MAC of a line in the file that must hold it: fs.ErrNotExist when there is none.
func (l *Log) lookUp(last remains, sequence uint64) (MAC, bool, error) {
	if last.first <= sequence {
		return last.macOf(sequence, l.keys)
	}
	older, err := segments(l.config.Path)
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

// judge reports a log that is not as this server left it, and refuses it when it is told to.
func (l *Log) judge() error {
	var text string
	switch l.next.Reason {
	case openCutOff:
		text = fmt.Sprintf("%v, published earlier, missing from the log: it was cut off or deleted, or the disk lost its end", l.next.Missing)
	case openRewritten:
		text = "the line that was published last is not in the log as it was published: the log was written anew"
	case openDamaged:
		text = "the last line was not written by this server, or was changed"
	default:
		return nil
	}
	if l.config.RefuseCutOff {
		return fmt.Errorf("decrypt audit log %s: %s; keep the files for an inquiry, then start once without refusing", l.config.Path, text)
	}
	klog.ErrorS(errors.New(text), "The decrypt audit log is not as this server left it; going on in a new file", "path", l.config.Path, "instance", l.config.Instance)
	return nil
}

// mend removes unfinished last lines, which no caller was told of, and returns their length.
func mend(files ...remains) (torn int64, err error) {
	for i, r := range files {
		if r.torn == 0 || i > 0 && r.path == files[0].path {
			continue
		}
		klog.InfoS("Removed an unfinished last line of the decrypt audit log; nothing was released for it", "path", r.path, "bytes", r.torn)
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

// goOn appends to the file that the last run left.
func (l *Log) goOn(active remains) error {
	reopened, err := reopenFile(active.path, active.size)
	if err != nil {
		return fmt.Errorf("opening the decrypt audit log: %w", err)
	}
	l.file = reopened
	return l.announce()
}

// SPDX-License-Identifier: Apache-2.0

package rbac

// Load reads all manifests (*.yaml, *.yml, *.json) of a folder, not of its subfolders, strictly: whatever Kubernetes
// would refuse, drop or warn about is an error that says where it stands and what to do. All faults are returned at
// once. An empty dir gives the built-in roles only.
func Load(dir string) (*Snapshot, error) {
	files, err := readDir(dir)
	if err != nil {
		return nil, err
	}
	warnOfFolders(dir)
	return parse(files)
}

// parse makes a snapshot of files that were read together.
func parse(files []file) (*Snapshot, error) {
	var items []*item
	var errs []error
	for _, f := range files {
		found, faults := decodeFile(f)
		items, errs = append(items, found...), append(errs, faults...)
	}
	snapshot, err := build(items, errs)
	if err != nil {
		return nil, err
	}
	snapshot.digest = digest(files)
	return snapshot, nil
}

# Sourced by the scripts of this folder: where the repository is, copies of it, and tools built from nested modules.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# A git hook or `git rebase --exec` exports variables that would send git below to the wrong repository.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_PREFIX

# list_files prints, NUL-separated, every file that git tracks or would add, and that exists. Arguments are pathspecs.
list_files() {
    (
        cd "${root}"
        git ls-files -z --cached --others --exclude-standard -- "$@" | sort -zu |
            while IFS= read -r -d '' file; do
                if [[ -e ${file} ]]; then printf '%s\0' "${file}"; fi
            done
    )
}

# copy_tree DIR copies those files to DIR and records them in a git repository of its own, for expect_unchanged.
copy_tree() {
    mkdir -p "$1"
    list_files | tar -C "${root}" --null --files-from - --create --file - | tar -C "$1" --extract --file -
    git -C "$1" init --quiet
    git -C "$1" -c core.autocrlf=false add --all
}

# expect_unchanged DIR HOW fails, showing the differences, when anything in the copy differs from what was copied.
# Build output in bin/ does not count; other ignored files do, for a generator must not write any.
expect_unchanged() {
    local changed
    git -C "$1" add --intent-to-add --ignore-removal --force -- . ':!bin'
    changed=$(git -C "$1" diff --no-renames --name-status)
    if [[ -n ${changed} ]]; then
        git -C "$1" --no-pager diff | head -n 200
        printf '\n%s\nThese files are not what the generators make. Run %s and commit the result.\n' "${changed}" "$2" >&2
        return 1
    fi
}

# build_tool NAME PACKAGE [LDFLAGS] builds bin/NAME from the nested module hack/TOOL, the current folder, when it is
# missing or older than the module. It is moved into place, so that a parallel run never starts half a file.
build_tool() {
    local out=${root}/bin/$1 source
    for source in go.mod go.sum *.go "${BASH_SOURCE[1]}"; do
        if [[ ! -x ${out} || ${source} -nt ${out} ]]; then
            mkdir -p "${root}/bin"
            CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w ${3:-}" -o "${out}.new.$$" "$2"
            mv -f "${out}.new.$$" "${out}"
            return
        fi
    done
}

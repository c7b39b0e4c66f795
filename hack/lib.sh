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

# copy_tree DIR copies those files to DIR and records them in a separate git repository there, so that git shows what
# changed since.
copy_tree() {
    mkdir -p "$1"
    list_files | tar -C "${root}" --null --files-from - --create --file - | tar -C "$1" --extract --file -
    git -C "$1" init --quiet
    git -C "$1" -c core.autocrlf=false add --all
}

# regenerate runs `generate`, a function of the calling script hack/update-NAME.sh, in a copy of the tree. Only when
# it has succeeded are its changes applied to the tree, all or none. With VERIFY=1 a change is an error instead. Build
# output in bin/ does not count; other ignored files do, because a generator must not write any.
regenerate() {
    local script=${0##*/} changed
    scratch=$(mktemp -d)
    trap 'chmod -R u+w "${scratch}" && rm -rf "${scratch}"' EXIT
    copy_tree "${scratch}/tree"
    export GOBIN=${root}/bin/codegen
    mkdir -p "${GOBIN}"
    (
        root=${scratch}/tree
        cd "${root}"
        generate
    )
    cd "${scratch}/tree"
    git add --intent-to-add --ignore-removal --force -- . ':!bin'
    changed=$(git diff --no-renames --name-status)
    if [[ -z ${changed} ]]; then
        echo "${script}: everything is up to date"
    elif [[ -n ${VERIFY:-} ]]; then
        git --no-pager diff | head -n 200
        printf '\n%s\nThese files are not what the generators make. Run hack/%s and commit the result.\n' \
            "${changed}" "${script}" >&2
        return 1
    else
        git diff --binary --no-renames | git -C "${root}" apply --whitespace=nowarn
        printf '%s\n' "${changed}"
    fi
}

# declared_tools prints the lines of hack/tools.txt, "PACKAGE: COMMANDS". It needs nothing but bash, as
# missing_packages does.
declared_tools() {
    local line
    while IFS= read -r line; do
        if [[ ${line} != '#'* ]]; then echo "${line}"; fi
    done <"${root}/hack/tools.txt"
}

# command_path PACKAGE COMMAND prints where a command is: the file of the package, if it is installed. What a version
# manager puts in front of it starts the real command by the PATH of its user, which .ci/run does not have.
command_path() {
    if [[ $1 == go ]]; then type -P "$2"; else PATH=/usr/bin:/bin:${PATH} type -P "$2"; fi
}

# missing_packages prints the packages of which this machine does not have every command.
missing_packages() {
    local package commands command
    while IFS=: read -r package commands; do
        [[ ${package} != '['* ]] || continue # not needed by .ci/run
        for command in ${commands}; do
            command_path "${package}" "${command}" >/dev/null || { echo "${package}" && break; }
        done
    done < <(declared_tools)
}

# link_tools DIR fills DIR with links to the commands that .ci/run needs, to be a PATH without any other.
link_tools() {
    local package commands command path
    while IFS=: read -r package commands; do
        [[ ${package} != '['* ]] || continue
        for command in ${commands}; do
            if path=$(command_path "${package}" "${command}"); then ln -sf "${path}" "$1/${command}"; fi
        done
    done < <(declared_tools)
}

# need_protoc fails when protoc is missing. Its own .proto files are not needed.
need_protoc() {
    command -v protoc >/dev/null ||
        { echo "protoc is missing: install the Debian package protobuf-compiler" >&2 && return 1; }
}

# build_tool NAME PACKAGE [LDFLAGS] builds bin/NAME from the nested module hack/TOOL, the current folder, when it is
# missing or older than the module. It is moved into place, so that a parallel run never starts half a file.
build_tool() {
    local out=${root}/bin/$1 source
    for source in go.mod go.sum *.go "${BASH_SOURCE[1]}"; do
        if [[ ! -x ${out} || ${source} -nt ${out} ]]; then
            echo "building $1, which takes some minutes on a cold cache" >&2
            mkdir -p "${root}/bin"
            CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w ${3:-}" -o "${out}.new.$$" "$2"
            mv -f "${out}.new.$$" "${out}"
            return
        fi
    done
}

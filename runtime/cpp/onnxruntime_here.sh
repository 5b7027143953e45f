#!/bin/sh
# Put ONNX Runtime's C++ headers and its library into FOLDER, to build with -DONNXRUNTIME_ROOT=FOLDER, from what a
# developer's machine has: the headers come from Debian's package libonnxruntime-dev, of Debian 13 where this Debian has
# none, and the library from the package onnxruntime of PYTHON. The library may be newer than the headers.
#
#   onnxruntime_here.sh FOLDER PYTHON
set -eu

folder=$1
python=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "error: $1" >&2
    echo "  unpack ONNX Runtime's release for this system, and build with -DONNXRUNTIME_ROOT=ITS_FOLDER" >&2
    exit 1
}

# The package of another Debian, from the mirror that this one uses, unpacked and not installed.
debian_13_headers() {
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | head -n 1)
    [ -n "$mirror" ] || fail "no ONNX Runtime headers: this system has no libonnxruntime-dev, and is not a Debian"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$work/sources.list"
    cd "$work"
    for command in update "download libonnxruntime-dev"; do
        # shellcheck disable=SC2086 # two words
        apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root \
            -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" $command
    done
    dpkg -x ./libonnxruntime-dev_*.deb "$work/package"
    cd - >/dev/null
}

mkdir -p "$folder/include" "$folder/lib"
headers=/usr/include/onnxruntime
if [ ! -e "$headers/onnxruntime_cxx_api.h" ]; then
    debian_13_headers
    headers=$work/package/usr/include/onnxruntime
fi
cp -R "$headers" "$folder/include/"

package=$("$python" -c 'import importlib.util as u; s = u.find_spec("onnxruntime"); print(*s.submodule_search_locations if s else "")')
[ -n "$package" ] || fail "$python has no package onnxruntime"
library=$(find "$package/capi" -name 'libonnxruntime.so.*' | head -n 1)
[ -n "$library" ] || fail "the package onnxruntime of $python has no library"
ln -sf "$library" "$folder/lib/libonnxruntime.so.1"
ln -sf libonnxruntime.so.1 "$folder/lib/libonnxruntime.so"

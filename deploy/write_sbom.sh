#!/bin/sh
# Write which Python packages an image holds, in which versions and under which licences: a software bill of materials
# (SBOM) as CycloneDX's JSON.
#
#   sh write_sbom.sh PYTHON FILE
#
# PYTHON  whose packages, by its name or its whole path
# FILE    is written, with its folders; a whole path
set -eu

own=$(mktemp -d)
trap 'rm -rf "$own"' EXIT
cd "$own"  # Python looks for packages in the current folder, too
"$1" -m venv "$own"  # in an environment of its own, or the list would name what makes it
"$own/bin/pip" install --quiet --no-cache-dir 'cyclonedx-bom>=7,<8'
mkdir -p "$(dirname "$2")"
"$own/bin/cyclonedx-py" environment --output-reproducible --output-file "$2" "$1"

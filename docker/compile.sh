#!/usr/bin/env bash
# Compiles the Python files below a folder and dates everything in it, so that the same
# sources give the same layer: bytecode is checked against no time of a source file.
set -euo pipefail

main() {
    local root=$1
    python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$root"
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

main "$@"

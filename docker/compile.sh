#!/usr/bin/env bash
# Compiles the Python files below a folder and gives everything in it the same date, so that the
# same sources give the same layer: bytecode does not depend on when a source file was changed.
set -euo pipefail

main() {
    local root=$1
    python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$root"
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

main "$@"

#!/usr/bin/env bash
# Resolve every lock file again: hashes, all platforms, no index named.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

main() {
    local uv=${1:-uv}
    local images
    local common=(--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header)
    "$uv" pip compile "${common[@]}" --output-file "$here/bootstrap.lock" "$here/bootstrap.in"
    "$uv" pip compile "${common[@]}" --output-file "$here/runtime.lock" "$here/../pyproject.toml"
    for images in jobs functions; do
        "$uv" pip compile "${common[@]}" --python-platform x86_64-manylinux_2_28 \
            --group "$here/../pyproject.toml:$images" \
            --constraint "$here/runtime.lock" --output-file "$here/$images.lock"
    done
    "$uv" pip compile "${common[@]}" --group "$here/../pyproject.toml:dev" \
        --constraint "$here/runtime.lock" --output-file "$here/dev.lock" "$here/../pyproject.toml"
}

main "$@"

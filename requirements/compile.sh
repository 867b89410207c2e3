#!/usr/bin/env bash
# Resolve every lock file again: hashes, all platforms, no index named.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

main() {
    local uv=${1:-uv}
    local hashed=(--quiet --generate-hashes --no-emit-index-url --no-header)
    local common=("${hashed[@]}" --universal --python-version 3.11)
    "$uv" pip compile "${common[@]}" --output-file "$here/bootstrap.lock" "$here/bootstrap.in"
    "$uv" pip compile "${common[@]}" --output-file "$here/runtime.lock" "$here/../pyproject.toml"
    # The images have one platform, so their locks need no others.
    local images
    for images in jobs functions; do
        "$uv" pip compile "${hashed[@]}" --python-version 3.13 --python-platform x86_64-manylinux_2_28 \
            --group "$here/../pyproject.toml:$images" --constraint "$here/runtime.lock" \
            --output-file "$here/$images.lock"
    done
    "$uv" pip compile "${common[@]}" --group "$here/../pyproject.toml:dev" \
        --constraint "$here/runtime.lock" --output-file "$here/dev.lock" "$here/../pyproject.toml"
}

main "$@"

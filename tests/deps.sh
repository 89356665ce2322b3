#!/usr/bin/env bash
# Are the programs and headers at hand that the tests need beside Rust? Installs what is missing when run as root on a
# system with apt-get; otherwise says exactly what to install, and fails.
set -euo pipefail

missing=()
command_of() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
header_of() { printf '#include <%s>\n' "$1" | cc -DPCRE2_CODE_UNIT_WIDTH=8 -E - >/dev/null 2>&1 || missing+=("$2"); }

command_of cc gcc
command_of make make
command_of curl curl
command_of openssl openssl
command_of caddy caddy
command_of certbot certbot
command_of haproxy haproxy
command_of etcd etcd-server
command_of etcdctl etcd-client
command_of pebble pebble
command_of named bind9
command_of nsupdate bind9-dnsutils
command_of python3 python3
command_of nghttp nghttp2-client
command_of faketime faketime
command_of flock util-linux
command_of ip iproute2
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
header_of openssl/ssl.h libssl-dev
header_of pcre2.h libpcre2-dev
header_of zlib.h zlib1g-dev

for component in fmt clippy; do
  cargo "$component" --version >/dev/null 2>&1 || { echo "install with: rustup component add rustfmt clippy" >&2; exit 1; }
done

if [ ${#missing[@]} -eq 0 ]; then
  bash "$(dirname "$0")/second-ca/build.sh" >/dev/null
  echo "all there"
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  bash "$(dirname "$0")/second-ca/build.sh" >/dev/null
else
  echo "the tests need these packages (Debian's names): ${missing[*]}" >&2
  echo "install them with: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi

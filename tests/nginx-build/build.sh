#!/usr/bin/env bash
# Builds the nginx that semper is compared with, once, and keeps it in the cache: `.cache/nginx-1.28/nginx`.
# The source comes from the crate `nginx-src` (Cargo.lock here pins it), the libraries from Debian:
# libssl-dev, libpcre2-dev, zlib1g-dev. Prints the path of the binary.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${SEMPER_CACHE:-$root/.cache}/nginx-1.28
key=$(cat "$here/Cargo.lock" "$here/build.sh" | sha256sum | cut -c1-16)

if [ -x "$cache/nginx" ] && [ "$(cat "$cache/key" 2>/dev/null)" = "$key" ]; then
  echo "$cache/nginx"
  exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ -x "$cache/nginx" ] && [ "$(cat "$cache/key" 2>/dev/null)" = "$key" ]; then
  echo "$cache/nginx"
  exit 0
fi

cargo fetch --quiet --locked --manifest-path "$here/Cargo.toml" >&2
manifest=$(cargo metadata --offline --locked --format-version 1 --manifest-path "$here/Cargo.toml" \
  | grep -o '"manifest_path":"[^"]*/nginx-src-[^"]*/Cargo.toml"' | head -1 | cut -d'"' -f4)
source=$(dirname "$manifest")/nginx
[ -d "$source/src" ] || { echo "no nginx source in $(dirname "$manifest")" >&2; exit 1; }

work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp -R "$source" "$work/nginx"
cd "$work/nginx"
chmod -R u+w .
chmod +x auto/configure
{
  ./auto/configure \
    --prefix="$cache/prefix" --with-compat --with-file-aio --with-threads \
    --with-http_ssl_module --with-http_v2_module --with-http_realip_module --with-http_stub_status_module \
    --with-http_auth_request_module --with-http_sub_module --with-http_gunzip_module --with-http_gzip_static_module \
    --with-http_addition_module --with-http_slice_module --with-http_secure_link_module --with-http_dav_module \
    --with-http_mp4_module --with-http_flv_module --with-http_random_index_module \
    --with-stream --with-stream_ssl_module --with-stream_ssl_preread_module --with-stream_realip_module
  make -j"$(nproc)"
} >"$cache/build.log" 2>&1 || { tail -30 "$cache/build.log" >&2; exit 1; }
cp objs/nginx "$cache/nginx.new"
mv "$cache/nginx.new" "$cache/nginx"
echo "$key" >"$cache/key"
echo "$cache/nginx"

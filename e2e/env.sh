#!/usr/bin/env bash
# Installs a pinned Python environment into .cache/py/NAME, once for each version of its requirements:
#   e2e/env.sh models              what serves the models
#   e2e/env.sh guide ...           a client, from e2e/clients/NAME/requirements.txt
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
uv_version=0.13.9
uv=$root/.cache/py/uv-$uv_version

install_uv() {
  [ -x "$uv/bin/uv" ] && return
  rm -rf "$uv"
  "$python" -m venv "$uv"
  "$uv/bin/pip" install --quiet --disable-pip-version-check "uv==$uv_version"
}

# One installation at a time: a folder is made by one process only, on every system.
lock=$root/.cache/py/lock
acquire() {
  mkdir -p "$root/.cache/py"
  until mkdir "$lock" 2>/dev/null; do
    # The lock of a process that was killed has no owner.
    holder=$(cat "$lock/pid" 2>/dev/null || true)
    if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
      rm -rf "$lock"
    else
      sleep 0.2
    fi
  done
  echo $$ >"$lock/pid"
  trap 'rm -rf "$lock"' EXIT
}
acquire

for name in "$@"; do
  requirements=$root/e2e/clients/$name/requirements.txt
  [ "$name" = models ] && requirements=$root/e2e/models/requirements.txt
  target=$root/.cache/py/$name
  stamp=$(cat "$requirements" <("$python" --version) | cksum)
  [ "$(cat "$target/stamp" 2>/dev/null || true)" = "$stamp" ] && continue
  echo "installing the Python environment \"$name\"" >&2
  install_uv
  rm -rf "$target"
  "$uv/bin/uv" venv --quiet --python "$(command -v "$python")" "$target"
  VIRTUAL_ENV=$target "$uv/bin/uv" pip install --quiet -r "$requirements"
  echo "$stamp" >"$target/stamp"
done

#!/bin/sh
# Installs the real readers that the interop tests run, and prints the folder they are in:
#
#   environment.sh light     venv/ (gguf, safetensors, tokenizers, Node.js) and node_modules/ (llama.cpp)
#   environment.sh heavy     venv/ (torch, transformers, compressed-tensors, gptqmodel, PEFT, TRL)
#   environment.sh gguf      venv/ with packages that carry GGUF files
#
# The folder lies outside the checkout, in ${KERF_CACHE:-${XDG_CACHE_HOME:-~/.cache}/kerf}/interop, under a name made of the
# pins, so that a changed pin gets a new environment. Exit code 77 (ctest: skipped) when the package registries cannot be
# reached; then for ten minutes the next call says so at once. Several calls at a time wait for each other.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kind=${1:-}

skip() {
  echo "SKIPPED: the $kind interop readers cannot be installed: $*" >&2
  exit 77
}

case $kind in
  light) pins="requirements-light.txt package.json package-lock.json" ;;
  heavy | gguf) pins="requirements-$kind.txt" ;;
  *) echo "usage: environment.sh light|heavy|gguf" >&2; exit 2 ;;
esac

dependencies=
if [ "$kind" = gguf ]; then dependencies=--no-deps; fi

cache=${KERF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kerf}/interop
python=$(command -v python3) || skip "there is no python3"
version=$("$python" -c 'import platform; print(platform.python_version(), platform.machine())')
hash=$( (cd "$here" && cat $pins && echo "$version") | sha256sum | cut -c1-12)
dir=$cache/$kind-$hash
if [ -e "$dir/complete" ]; then
  echo "$dir"
  exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/$kind.lock"
flock 9
if [ -e "$dir/complete" ]; then  # another call installed it while this one waited
  echo "$dir"
  exit 0
fi
if [ -n "$(find "$dir/failed" -mmin -10 2>/dev/null)" ]; then
  skip "a try less than ten minutes ago failed; see $dir/log"
fi

echo "Installing the $kind interop readers into $dir ..." >&2
rm -rf "$dir"
mkdir -p "$dir"
if {
  "$python" -m venv "$dir/venv" &&
  "$dir/venv/bin/pip" install --no-input --disable-pip-version-check $dependencies -r "$here/requirements-$kind.txt" &&
  if [ "$kind" = light ]; then
    cp "$here/package.json" "$here/package-lock.json" "$dir/" &&
    cd "$dir" && PATH=$dir/venv/bin:$PATH npm install --omit=optional --ignore-scripts --no-audit --no-fund
  fi
} >"$dir/log" 2>&1 9>&-; then
  touch "$dir/complete"
  echo "$dir"
else
  touch "$dir/failed"
  tail -n 5 "$dir/log" >&2
  skip "see $dir/log"
fi

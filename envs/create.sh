# Create an environment with what a lock names.
#
#     sh envs/create.sh .venv envs/cpu.lock
#
# PYTHON   the Python to build it with, 3.11 to 3.13; default: the first one found, else one that uv fetches
set -eu
folder=$1
lock=$2
uv=uv==0.13.9
home=$(dirname "$0")

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
makes_environments() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    for python in python3.11 python3.12 python3.13 python3 python; do
        if supported $python && makes_environments $python; then
            echo $python
            return
        fi
    done
}

# uv, or one installed beside the environment by a Python that is too old or too new for the environment itself
find_uv() {
    if command -v uv; then return; fi
    for python in python3 python; do
        if makes_environments $python; then
            "$python" -m venv --clear .cache/uv && .cache/uv/bin/python -m pip install --quiet --quiet $uv &&
                echo .cache/uv/bin/uv
            return
        fi
    done
}

if [ -n "${PYTHON-}" ]; then
    supported "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13; name one of these, or leave PYTHON out"
    makes_environments "$PYTHON" || fail "$PYTHON cannot create environments; apt install python3-venv"
    python=$PYTHON
else
    python=$(find_python)
fi
if [ -n "$python" ]; then
    output=$("$python" -m venv --clear "$folder" 2>&1) || fail "$folder: $(printf '%s\n' "$output" | tail -n 1)"
else
    echo "No Python 3.11, 3.12 or 3.13 with venv here: fetching one with uv"
    with=$(find_uv 2>/dev/null) || with=
    [ -n "$with" ] && output=$("$with" venv --quiet --no-config --clear --seed --python 3.12 "$folder" 2>&1) ||
        fail "no Python 3.11, 3.12 or 3.13 with venv, and uv could not fetch one${output+ (}${output-}${output+)};" \
            "apt install python3 python3-venv, or name a Python with PYTHON="
fi
PATH="$(cd "$folder" && pwd)/bin:$PATH" sh "$home/install.sh" "$lock"

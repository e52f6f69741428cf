# Install a lock, and nothing else, into the active Python.
#
#     sh envs/install.sh envs/cpu.lock
#
# pip's own settings decide where packages come from (a mirror, a folder of wheels).
set -eu
lock=$1
uv=uv==0.13.9 # only to find torch's CPU build, outside the environment

# -I: neither a user's own packages nor PYTHONPATH may pass for installed ones.
python() { command python -I "$@"; }
# --no-deps: a lock is complete, and some of its pins differ on purpose from what a package asks (see the overrides).
pip_install() { python -m pip install --quiet --quiet --no-input --disable-pip-version-check "$@" 2>&1; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# explain OUTPUT: what pip or uv could not do, as one line with the fix
explain() {
    case $1 in
    *'No space left on device'*)
        fail "disk full below $site or ${TMPDIR:-/tmp}; the environment needs $needed GB, then run the same command again" ;;
    *'DO NOT MATCH THE HASHES'*)
        fail "$(printf '%s\n' "$1" | sed -n 's/^ *\([^ ]*==[^ ]*\).*from.*/\1/p' | head -n 1): the downloaded file is not" \
            "the one that $lock names; delete what was half downloaded (python -m pip cache purge), then run the same" \
            "command again" ;;
    *BadZipFile* | *'invalid wheel'* | *'is invalid'*)
        fail "a downloaded wheel is damaged: $(last_line "$1"); delete it (python -m pip cache purge)," \
            "then run the same command again" ;;
    *'no such option'*)
        fail "pip $pip is too old; python -m pip install --upgrade pip, then run the same command again" ;;
    *)
        fail "$(last_line "$1"); see whether \`python -m pip download --no-deps six\` works here" ;;
    esac
}
last_line() { printf '%s\n' "$1" | grep -v '^ *$' | sed -n '$s/^ *ERROR: //;$p'; }

site=$(python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
pip=$(python -m pip --version | cut -d ' ' -f 2)
needed=4
case $lock in *gpu*) needed=13 ;; esac
case $pip in
[0-9].* | 1[0-9].* | 20.[0-2] | 20.[0-2].*)
    fail "pip $pip is too old for the packages of $lock; python -m pip install --upgrade pip, then run the same command again" ;;
esac

# Checked here because vLLM's own error does not name the missing library.
case $lock in *cpu*)
    python -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null ||
        fail "libnuma.so.1 is missing, which vLLM's CPU build loads; apt install libnuma1 (Red Hat: numactl-libs)" ;;
esac

# torch's CPU build is another file on every index and not on PyPI: the lock has no hash of it, and it is found here.
cpu_torch=$(sed -n 's/^\(torch==.*\)+cpu$/\1/p' "$lock")
hashed=$(mktemp)
search=$(mktemp -d)
trap 'rm -rf "$hashed" "$search"' EXIT
grep -v '^torch==.*+cpu$' "$lock" >"$hashed"

echo "Installing the $(grep -c == "$hashed") packages of $(basename "$lock"): some minutes"
output=$(pip_install --no-deps --require-hashes --requirement "$hashed") || explain "$output"
[ -n "$cpu_torch" ] || exit 0

# 1. Where pip finds it: on an index or in a folder of wheels that pip is set to. 2. On PyTorch's own index, which uv
# knows. 3. Else the build with CUDA that every index has, with the libraries that it loads: it computes on CPUs, too.
echo "Installing $cpu_torch"
needed=8
if output=$(pip_install --no-deps "$cpu_torch+cpu"); then
    build="CPU build, found by pip"
elif case $output in *'No matching distribution'*) false ;; esac; then
    explain "$output"
elif output=$(pip_install --target "$search" "$uv" &&
    UV_HTTP_RETRIES=1 UV_HTTP_TIMEOUT=30 "$search/bin/uv" pip install --quiet --no-config --no-deps \
        --python "$(python -c 'import sys; print(sys.executable)')" --torch-backend=cpu "$cpu_torch" 2>&1); then
    build="CPU build, from PyTorch's index"
elif output=$(pip_install "$cpu_torch"); then
    build="build with CUDA, the only one found; it runs on CPUs, too"
else
    explain "$output"
fi
size=$(cd "$site" && du -smc torch nvidia triton cuda 2>/dev/null | tail -n 1 | cut -f 1)
echo "Installed $cpu_torch: $build ($size MB)"

# torchaudio as published is linked against CUDA: beside a CPU torch its import fails. Without the compiled extension
# it imports, and does all that WhisperX and pyannote.audio ask of it.
if [ -z "$(python -c 'from torch.version import cuda; print(cuda or "")')" ]; then
    for library in "$site"/torchaudio/lib/*.so; do
        if grep -q libc10_cuda "$library" 2>/dev/null; then rm "$library"; fi
    done
fi

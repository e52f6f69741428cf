# Install a lock, and nothing else, into the active Python.
#
#     sh envs/install.sh envs/cpu.lock
#
# TORCH_INDEX   address of an index that carries the lock's torch, where the usual one does not
set -eu
lock=$1
torch=$(grep '^torch==' "$lock")

# -I: neither a user's own packages nor PYTHONPATH may pass for installed ones. --no-deps: a lock is complete, and some
# of its pins differ on purpose from what a package asks (see the overrides).
install() {
    python -I -m pip install --quiet --quiet --no-deps --no-input --disable-pip-version-check "$@"
}

# First torch by itself: its CPU build lives on an index of PyTorch's own, which 200 other packages need not ask.
echo "Installing $torch"
if ! problem=$(install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$torch" 2>&1); then
    case "$torch $problem" in
    *+cpu*'No matching distribution'*)
        echo "$torch not found: add TORCH_INDEX=ADDRESS, the CPU index that PyTorch's installation page names" ;;
    *)
        echo "$problem" ;;
    esac >&2
    exit 1
fi

echo "Installing $(grep -c == "$lock") packages: some minutes"
install -r "$lock"

# torchaudio as published is linked against CUDA: beside a CPU torch its import fails. Without the compiled extension
# it imports, and does all that WhisperX and pyannote.audio ask of it.
case $torch in
*+cpu)
    site=$(python -I -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
    for library in "$site"/torchaudio/lib/*.so; do
        if grep -q libc10_cuda "$library" 2>/dev/null; then rm "$library"; fi
    done ;;
esac

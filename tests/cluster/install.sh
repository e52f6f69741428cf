# Debian's SLURM for slurm.sh, installed where it is missing.
#
# Exit status 3: it is missing, and this user cannot install it.
set -eu
PATH="$PATH:/usr/sbin:/sbin"

complete() {
    for program in munged slurmctld slurmd sbatch srun; do
        command -v $program >/dev/null || return 1
    done
}

install() {
    $root apt-get update && $root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends slurm-wlm munge
}

complete && exit
if [ "$(id -u)" = 0 ]; then root=; else root="sudo -n"; fi
if ! command -v apt-get >/dev/null || { [ -n "$root" ] && ! $root true 2>/dev/null; }; then
    echo "SLURM is not installed, and this user cannot install it; as root: apt install slurm-wlm munge" >&2
    exit 3
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing SLURM for the cluster's tests: slurm-wlm and munge"
install >"$log" 2>&1 && complete && exit
echo "the cluster's tests need SLURM, which could not be installed ($(tail -n 1 "$log")): apt install slurm-wlm munge" >&2
exit 1

# Print the script that Snakemake runs in a new conda environment: install.sh with a lock inside, because Snakemake
# copies this one file and identifies the environment by its content.
#
#     sh envs/post-deploy.sh cpu > envs/cpu.post-deploy.sh
set -eu
cd "$(dirname "$0")"
cat <<HEAD
# Made by \`make lock\` from $1.lock and install.sh: change those.
lock=\$(mktemp)
trap 'rm -f "\$lock"' EXIT
set -- "\$lock"
cat > "\$lock" <<'LOCK'
HEAD
cat "$1.lock"
echo LOCK
echo
cat install.sh

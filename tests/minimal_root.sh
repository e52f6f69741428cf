#!/bin/sh
# The README's commands as on a fresh machine: a minimal Debian in a folder, with what the README names and nothing else.
#
#     sudo sh tests/minimal_root.sh FOLDER [COMMAND]     default: make demo && make test
#
# FOLDER is made if it is not there; a second call goes on in it, with the committed files of this checkout as they are
# then. Needs debootstrap and root. To be set where it matters:
#
#   SUITE   Debian's release; default: bookworm, whose Python is 3.11 (trixie: 3.13)
#   PYTHON_PACKAGES   default: python3 python3-venv
#   RUN_AS  root or user: an ordinary user, who cannot install anything; default: root
#   KEEP    names of variables to pass on, such as PIP_INDEX_URL
#   SHOW    folders of this machine to show inside, such as one with wheels or certificates
set -eu
folder=${1:?usage: sh tests/minimal_root.sh FOLDER [COMMAND]}
command=${2:-make demo && make test}
: "${SUITE:=bookworm}" "${RUN_AS:=root}" "${KEEP:=}" "${SHOW:=}" "${PYTHON_PACKAGES:=python3 python3-venv}"
checkout=$(cd "$(dirname "$0")/.." && pwd)
PATH="$PATH:/usr/sbin:/sbin"

fail() {
    echo "error: $*" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || fail "not root; run it with sudo"
command -v debootstrap >/dev/null || fail "no debootstrap; apt install debootstrap"

if [ ! -e "$folder/made" ]; then
    # shellcheck disable=SC2086
    include=$(echo make git ca-certificates libnuma1 $PYTHON_PACKAGES | tr ' ' ,)
    log=$(mktemp)
    debootstrap --variant=minbase --include="$include" "$SUITE" "$folder" >"$log" 2>&1 ||
        fail "debootstrap: $(tail -n 1 "$log")"
    rm "$log"
    chroot "$folder" useradd --create-home user
    touch "$folder/made"
fi
folder=$(cd "$folder" && pwd)
cp /etc/resolv.conf /etc/hosts "$folder/etc/"

mounted=
unmount() { for place in $mounted; do umount --lazy --recursive "$place"; done; }
trap unmount EXIT
show() { # show PLACE: a folder of this machine at the same place inside, with what is mounted in it
    mkdir -p "$folder$1"
    mount --rbind --make-rslave "$1" "$folder$1"
    mounted="$folder$1 $mounted"
}
mount -t proc proc "$folder/proc"
mounted="$folder/proc"
show /dev
show /sys
for place in $SHOW; do show "$place"; done

home=$(chroot "$folder" getent passwd "$RUN_AS" | cut -d : -f 6)
rm -rf "$folder$home/abhinaya.new"
git clone --quiet "$checkout" "$folder$home/abhinaya.new"
mkdir -p "$folder$home/abhinaya"
# The environment of an earlier call stays; make builds it anew if its lock has changed.
(cd "$folder$home/abhinaya" && find . -mindepth 1 -maxdepth 1 ! -name '.venv*' ! -name .cache -exec rm -rf {} +)
cp -r "$folder$home/abhinaya.new/." "$folder$home/abhinaya"
rm -rf "$folder$home/abhinaya.new"
chroot "$folder" chown -R "$RUN_AS:" "$home"

set -- HOME="$home" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
for name in $KEEP; do
    eval "set -- \"\$@\" \"$name=\${$name-}\""
done
chroot --userspec="$RUN_AS" "$folder" env -i "$@" sh -c "cd $home/abhinaya && $command"

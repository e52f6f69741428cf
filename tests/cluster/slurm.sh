#!/bin/sh
# A private SLURM on this one machine, for the tests: no systemd, root or not, nothing outside one folder.
#
#     tests/cluster/slurm.sh up [FOLDER]      start it, or leave it as it is; prints the line that makes it usable
#     tests/cluster/slurm.sh down [FOLDER]    cancel its jobs and stop it; its logs stay in FOLDER/log
#
# Two nodes of four CPUs and 8 GB each, whatever the machine has: `cpu` and `gpu`, each alone in the partition of its
# name, and together in `both`; `gpu` has one GPU, which is the null device. Two nodes `large1` and `large2` of the size
# of a real cluster's, with eight such GPUs each, in partitions with the rules of different sites: see `configure` and
# site_rules.lua. Needs what install.sh installs.
set -eu

folder=${2:-${TMPDIR:-/tmp}/abhinaya-slurm-$(id -u)}
nodes="cpu gpu large1 large2"
rules=$(cd "$(dirname "$0")" && pwd)/site_rules.lua
commands="sbatch srun squeue scancel sinfo scontrol sacct sacctmgr sshare slurmd"
# Where Debian keeps daemons, which a user's PATH often lacks.
PATH="$PATH:/usr/sbin:/sbin"

fail() {
    echo "$*" >&2
    exit 1
}

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
    left=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.1
    done
}

# A pid file outlives its daemon: the number may be another process's by then, or a dead one's that nobody collects.
daemon_of() {
    [ -s "$1" ] && pid=$(cat "$1") && name=$(basename "$1") && grep -qs "${name%%.*}" "/proc/$pid/cmdline"
}
gone() { ! daemon_of "$1"; }
responds() { [ "$("$folder/bin/sinfo" -h -N -t idle,mix,alloc -o %N | sort -u | wc -l)" = 4 ]; }

start_nodes() { for node in $nodes; do slurmd -N "$node" || return 1; done; }
node_daemons() { for node in $nodes; do echo "slurmd.$node"; done; }

all_run() {
    for daemon in munged slurmctld $(node_daemons); do
        daemon_of "$folder/run/$daemon.pid" || return 1
    done
}

free_ports() {
    python3 - <<'PYTHON'
import socket
sockets = [socket.socket() for _ in range(5)]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))
PYTHON
}

configure() {
    # shellcheck disable=SC2046
    set -- $(free_ports)
    host=$(hostname -s)
    user=$(id -un)
    large="CPUs=64 RealMemory=1000000 Gres=gpu:a100-80gb:8"
    cat >"$folder/etc/slurm.conf" <<CONF
ClusterName=abhinaya
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$1
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# A job that is queued again waits until its credential has expired: two minutes by default.
AuthInfo=socket=$folder/run/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
AccountingStorageType=accounting_storage/none
PropagateResourceLimits=NONE
MailProg=/bin/true
ReturnToService=2
GresTypes=gpu
JobSubmitPlugins=lua
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=bf_interval=1,sched_interval=1
# A job that no node could ever hold is refused, not queued for ever.
EnforcePartLimits=ALL
# squeue lists finished jobs for this long.
MinJobAge=600
KillWait=30
# The sizes below count, not those of the machine.
SlurmdParameters=config_overrides
NodeName=cpu NodeHostname=$host NodeAddr=127.0.0.1 Port=$2 CPUs=4 RealMemory=8000
NodeName=gpu NodeHostname=$host NodeAddr=127.0.0.1 Port=$3 CPUs=4 RealMemory=8000 Gres=gpu:fake:1
NodeName=large1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$4 $large Feature=a100,nvlink
NodeName=large2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$5 $large Feature=a100
PartitionName=cpu Nodes=cpu Default=YES MaxTime=1-0
PartitionName=gpu Nodes=gpu MaxTime=1-0
PartitionName=both Nodes=cpu,gpu MaxTime=1-0
PartitionName=large Nodes=large1,large2 MaxTime=7-0
PartitionName=large_cpu Nodes=large1,large2 MaxTime=7-0
# No job may use --gpus.
PartitionName=gres Nodes=large1,large2 MaxTime=7-0
# Every job must name the account \`lab\`.
PartitionName=account Nodes=large1,large2 MaxTime=7-0
# Every job must have a constraint.
PartitionName=constraint Nodes=large1,large2 MaxTime=7-0
PartitionName=limits Nodes=large1,large2 MaxTime=1-0 MaxMemPerNode=64000 MaxNodes=1
CONF
    cat >"$folder/etc/gres.conf" <<CONF
AutoDetect=off
NodeName=gpu Name=gpu Type=fake File=$folder/dev/gpu0
NodeName=large[1-2] Name=gpu Type=a100-80gb File=$folder/dev/gpu[0-7]
CONF
    cp "$rules" "$folder/etc/job_submit.lua"
    # Without this line slurmd looks for a cgroup of systemd's and dies.
    echo "CgroupPlugin=cgroup/v1" >"$folder/etc/cgroup.conf"
}

# Snakemake's SLURM plugin takes SLURM_CONF out of a job's environment, so the commands themselves carry it.
wrap_commands() {
    for name in $commands; do
        real=$(command -v "$name") || fail "$name not found: apt install slurm-wlm munge"
        printf '#!/bin/sh\nSLURM_CONF="%s" exec %s "$@"\n' "$folder/etc/slurm.conf" "$real" >"$folder/bin/$name"
        chmod 755 "$folder/bin/$name"
    done
}

up() {
    for name in munged slurmctld slurmd sbatch; do
        command -v $name >/dev/null || fail "no SLURM here ($name not found): apt install slurm-wlm munge"
    done
    if [ -d "$folder/run" ]; then
        all_run && responds && return
        down
    fi
    for part in bin dev etc log run state; do
        mkdir -p "$folder/$part"
    done
    for node in $nodes; do mkdir -p "$folder/spool/$node"; done
    folder=$(cd "$folder" && pwd -P)
    wrap_commands
    configure
    for number in 0 1 2 3 4 5 6 7; do ln -sf /dev/null "$folder/dev/gpu$number"; done
    (umask 077 && head -c 128 /dev/urandom >"$folder/etc/munge.key")
    export SLURM_CONF="$folder/etc/slurm.conf"
    # Daemons keep what they are started with: no open pipe of the caller's, no folder that is to be removed.
    cd /
    {
        munged --force --key-file="$folder/etc/munge.key" --socket="$folder/run/munge.socket" \
            --pid-file="$folder/run/munged.pid" --seed-file="$folder/run/munged.seed" \
            --log-file="$folder/log/munged.log" &&
            slurmctld -c && start_nodes
    } </dev/null >"$folder/log/start.log" 2>&1 || fail "SLURM did not start: $(tail -n 1 "$folder/log/start.log")"
    wait_for 30 responds || fail "SLURM's nodes do not answer; see $folder/log"
}

down() {
    [ -d "$folder/run" ] || return 0
    folder=$(cd "$folder" && pwd -P)
    if all_run; then
        "$folder/bin/scancel" --user="$(id -un)" --quiet || true
        wait_for 30 no_jobs || "$folder/bin/scancel" --user="$(id -un)" --quiet --signal=KILL || true
    fi
    # The nodes first, as they sign off at the controller; munged last, as all need it.
    for daemon in $(node_daemons) slurmctld munged; do
        pidfile=$folder/run/$daemon.pid
        daemon_of "$pidfile" || continue
        kill "$pid" || true
        wait_for 15 gone "$pidfile" || kill -KILL "$pid" || true
    done
    rm -rf "$folder/bin" "$folder/dev" "$folder/etc" "$folder/run" "$folder/spool" "$folder/state"
}
no_jobs() { [ -z "$("$folder/bin/squeue" -h -t running,pending,completing,suspended)" ]; }

case ${1:-} in
up)
    up
    echo "PATH=\"$folder/bin:\$PATH\""
    ;;
down) down ;;
*) fail "usage: $0 up|down [FOLDER]" ;;
esac

#!/usr/bin/env bash
# From a checkout on a laptop to a run on a TPU VM, a pod or several slices of Google Cloud, and back.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: scripts/tpu_vm.sh COMMAND NAME [OPTIONS]

  create NAME --type v5litepod-8   makes a TPU of this type, and waits until it is ready
      --spot                       cheaper, and may be taken away (preempted) at any time: see resume
      --queued                     asks the queue in place of failing where none is free (a queued resource)
      --slices N                   several slices of the type, through the queue: NAME-0, NAME-1, ...
      --version RUNTIME            the image of the VM (the type says it: v2-alpha-tpuv5-lite, ...)
  install NAME                     copies this tree (what git does not ignore) to every host, installs it there with the
                                   versions of constraints.txt, and counts the chips
  run NAME -- FLAGS                begins t5x-lite FLAGS on every host; it goes on when this machine is off
  logs NAME                        follows the hosts' logs of the first slice, each line with its host
      --worker N                   of one host
      --slice N                    of another slice
  status NAME                      of the TPU, and of the run on every host
  stop NAME                        asks the run to end: it saves a checkpoint first
  fetch NAME                       workdir (without its checkpoints) and each host's log, into runs/tpu_vm/NAME/results
      --to DIRECTORY               elsewhere
  resume NAME                      after a preemption: makes the TPU anew, installs, and runs the same command, which
                                   goes on from its last checkpoint where the workdir is gs://
  delete NAME                      ends the TPU, and what it costs; what was fetched stays

Every command takes --zone ZONE and --project PROJECT (create remembers them; else gcloud's own settings hold), and
--dry_run, which prints each command and runs none.

    scripts/tpu_vm.sh create tuner --type v5litepod-8 --zone us-west4-a --spot
    scripts/tpu_vm.sh install tuner
    scripts/tpu_vm.sh run tuner -- --config configs/tpu.py:xl,lora --workdir gs://BUCKET/xl_lora

It needs gcloud, logged in. What it remembers of NAME is in runs/tpu_vm/NAME (or $T5X_LITE_TPU_VM/NAME).
USAGE
}

# Bad input is status 2, what went wrong elsewhere 1; either is one line.
die() {
  echo "tpu_vm.sh: $*" >&2
  exit 2
}

failed() {
  echo "tpu_vm.sh: $*" >&2
  exit 1
}

# --- what the user asks for

command="" name="" here="$PWD" folder="" dry_run=""
zone="" project="" type="" version="" slices=1 spot="" queued="" worker=all slice=0 to=""
given=() flags=() recalled=() where=()

# options ALLOWED ARGUMENTS...: sets the variable of each option, and flags to what follows "--".
options() {
  local allowed=" $1 " option
  shift
  while [ $# -gt 0 ]; do
    case "$1" in
      --)
        [ "$command" = run ] || die "$command takes nothing after --"
        shift
        flags=("$@")
        return
        ;;
      --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    option="${1#--}"
    if [ "$option" = "$1" ] || [[ "$allowed" != *" $option "* ]]; then
      die "$command: there is no option $1; see --help"
    fi
    case "$option" in
      dry_run | spot | queued) printf -v "$option" 1 ;;
      *)
        [ $# -ge 2 ] || die "$1 needs a value"
        printf -v "$option" '%s' "$2"
        shift
        ;;
    esac
    shift
  done
}

check_options() {
  [[ "$slices" =~ ^[1-9][0-9]*$ ]] || die "--slices must be a whole number above 0, got $slices"
  [[ "$slice" =~ ^[0-9]+$ && "$slice" -lt "$slices" ]] || die "--slice must be from 0 to $((slices - 1)), got $slice"
  [[ "$worker" =~ ^(all|[0-9]+)$ ]] || die "--worker must be the number of a host, or all, got $worker"
  if [ "$slices" -gt 1 ]; then queued=1; fi
  where=(--quiet)
  if [ -n "$zone" ]; then where+=("--zone=$zone"); fi
  if [ -n "$project" ]; then where+=("--project=$project"); fi
}

# remember FILE ARGUMENTS...: for recall, one a line.
remember() {
  local file="$folder/$1" argument
  shift
  for argument in "$@"; do
    [[ "$argument" != *$'\n'* ]] || die "an argument may not hold a line break: ${argument//$'\n'/ }"
  done
  if [ -n "$dry_run" ]; then return; fi
  mkdir -p "$folder"
  for argument in "$@"; do printf '%s\n' "$argument"; done >"$file"
}

# recall FILE: sets recalled to the arguments that were remembered, none if there is no such file.
recall() {
  local line
  recalled=()
  if [ -e "$folder/$1" ]; then
    while IFS= read -r line; do recalled+=("$line"); done <"$folder/$1"
  fi
}

# --- gcloud

# call COMMAND...: runs it; with --dry_run prints it, as one would type it.
call() {
  if [ -z "$dry_run" ]; then
    "$@"
    return
  fi
  local word line=""
  for word in "$@"; do
    if [[ "$word" = *[!A-Za-z0-9_./:=,@%+-]* ]]; then
      word="'$(printf '%s' "$word" | sed "s/'/'\\\\''/g")'"
    fi
    line+="${line:+ }$word"
  done
  echo "$line" >&3
}

tpu() { call gcloud compute tpus "$@" "${where[@]}"; }

ssh_to() { tpu tpu-vm ssh "$1" "--worker=$2" "--command=$3"; }

nodes() {
  local i
  if [ "$slices" -eq 1 ]; then
    echo "$name"
  else
    for ((i = 0; i < slices; i++)); do echo "$name-$i"; done
  fi
}

# on_every_slice COMMAND...: with NODE replaced by the name of a slice's node, all slices at once.
on_every_slice() {
  local node pid pids=() bad=0
  for node in $(nodes); do
    if [ -n "$dry_run" ]; then
      "${@/#NODE/$node}"
    else
      "${@/#NODE/$node}" &
      pids+=($!)
    fi
  done
  for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" || bad=1; done
  return "$bad"
}

on_hosts() { on_every_slice ssh_to NODE all "$1"; }

# --- the TPU

runtime_version() {
  case "$type" in
    v2-* | v3-* | v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) die "--type $type: its image is not known here; give --version (gcloud compute tpus tpu-vm versions list)" ;;
  esac
}

create_tpu() {
  local image extra=("--accelerator-type=$type")
  image="${version:-$(runtime_version)}"
  if [ -n "$spot" ]; then extra+=(--spot); fi
  if [ -z "$queued" ]; then
    tpu tpu-vm create "$name" "${extra[@]}" "--version=$image"
    return
  fi
  if [ "$slices" -eq 1 ]; then
    extra+=("--node-id=$name")
  else
    extra+=("--node-count=$slices" "--node-prefix=$name")
  fi
  tpu queued-resources create "$name" "${extra[@]}" "--runtime-version=$image"
  wait_for_queue
}

wait_for_queue() {
  local now last=""
  while true; do
    now="$(state ACTIVE)"
    case "$now" in
      ACTIVE) return ;;
      "" | FAILED | SUSPEND*) failed "$name: ${now:-it left the queue}; gcloud compute tpus queued-resources describe $name" ;;
    esac
    if [ "$now" != "$last" ]; then echo "$name: $now; it is waited for (resume waits again, too)" >&2; fi
    last="$now"
    sleep "${T5X_LITE_TPU_WAIT:-30}"
  done
}

# state ASSUMED: what gcloud says of the TPU (READY, PREEMPTED, ...) or of its place in the queue (ACTIVE, SUSPENDED, ...);
# nothing where there is none; with --dry_run, ASSUMED.
state() {
  local kind=tpu-vm field=state said
  if [ -n "$queued" ]; then kind=queued-resources field=state.state; fi
  if [ -n "$dry_run" ]; then
    tpu "$kind" describe "$name" "--format=value($field)"
    echo "$1"
  elif said="$(tpu "$kind" describe "$name" "--format=value($field)" 2>&1)"; then
    echo "$said" | tail -n 1
  elif [[ "$said" != *NOT_FOUND* ]]; then
    failed "$(echo "$said" | grep -m 1 ERROR || echo "gcloud cannot describe $name")"
  fi
}

delete_tpu() {
  if [ -n "$queued" ]; then
    tpu queued-resources delete "$name" --force
  else
    tpu tpu-vm delete "$name"
  fi
}

# --- its hosts: the tree is in ~/t5x_lite, the environment in ~/t5x_lite_env, the run's files in ~/t5x_lite_run

# The image's Python is older than 3.11, so uv brings one. jax names the libtpu that it was built with; that of
# constraints.txt is for the pod check.
# shellcheck disable=SC2016
install_script='set -e
mkdir -p ~/t5x_lite && cd ~/t5x_lite && tar -xzf ~/t5x_lite.tar.gz
python3 -m pip install --user --quiet uv
~/.local/bin/uv venv --quiet --allow-existing --python 3.11 ~/t5x_lite_env
grep -v ^libtpu constraints.txt >~/t5x_lite_constraints.txt
~/.local/bin/uv pip install --quiet --python ~/t5x_lite_env/bin/python --editable ".[tpu]" --constraint ~/t5x_lite_constraints.txt'

# jax waits for every host, so that an answer says that the pod is whole.
# shellcheck disable=SC2088
count_script='~/t5x_lite_env/bin/python -c "
import jax
jax.distributed.initialize()
print(f\"host {jax.process_index()} of {jax.process_count()}: {jax.local_device_count()} of {jax.device_count()} chips\")"'

install_on_hosts() {
  local archive="${TMPDIR:-/tmp}/t5x_lite_$name.tar.gz"
  # The second listing is for a tree that was unpacked without its .git.
  # shellcheck disable=SC2016
  call bash -c '{ git ls-files --cached --others --exclude-standard -z 2>/dev/null ||
    find . -type f -not -path "./.venv/*" -not -path "./runs/*" -print0; } | tar --null -T - -czf "$0"' "$archive"
  on_every_slice tpu tpu-vm scp "$archive" NODE:t5x_lite.tar.gz --worker=all || failed "copying the tree failed"
  call rm "$archive"
  on_hosts "$install_script" || failed "installing failed"
  on_hosts "$count_script" || failed "the installed jax does not see the chips"
}

# run_script FLAGS...: the shell text that begins the run detached. What the run leaves: log, pid, status.
run_script() {
  cat <<SCRIPT
cd ~/t5x_lite && mkdir -p ~/t5x_lite_run
if [ ! -e ~/t5x_lite_run/status ] && kill -0 "\$(cat ~/t5x_lite_run/pid 2>/dev/null)" 2>/dev/null; then
  echo "\$(hostname): a run is going on; see logs, or stop it" >&2
  exit 1
fi
rm -f ~/t5x_lite_run/pid ~/t5x_lite_run/status
cat >~/t5x_lite_run/begin.sh <<'BEGIN'
~/t5x_lite_env/bin/t5x-lite$(printf ' %q' "$@") &
echo \$! >~/t5x_lite_run/pid
wait \$!
echo \$? >~/t5x_lite_run/status
BEGIN
setsid nohup bash ~/t5x_lite_run/begin.sh >>~/t5x_lite_run/log 2>&1 </dev/null &
until [ -e ~/t5x_lite_run/pid ]; do sleep 0.1; done
SCRIPT
}

run_on_hosts() {
  on_hosts "$(run_script "$@")" || failed "the run did not begin on every host; see status"
}

# shellcheck disable=SC2016
status_script='cd ~/t5x_lite_run 2>/dev/null || { echo "$(hostname): no run yet"; exit; }
if [ -e status ]; then
  case "$(cat status)" in  # docs/stops.md
    0) what=done ;;
    2) what="bad input" ;;
    3) what=diverged ;;
    4) what="a reward failed" ;;
    75 | 130 | 143) what="stopped: resume goes on" ;;
    *) what="a fault" ;;
  esac
  echo "$(hostname): ended with status $(cat status) ($what): $(tail -n 1 log)"
elif kill -0 "$(cat pid)" 2>/dev/null; then
  echo "$(hostname): running: $(tail -n 1 log)"
else
  echo "$(hostname): broken off: $(tail -n 1 log)"
fi'

# shellcheck disable=SC2016
stop_script='kill -TERM "$(cat ~/t5x_lite_run/pid)" && echo "$(hostname): asked to stop"'

# shellcheck disable=SC2016
logs_script='tail -n 200 -F ~/t5x_lite_run/log | sed -u "s/^/$(hostname): /"'

# --- what comes back

# value_of FLAG FLAGS...: what a run's flags give for FLAG; nothing where it is not given.
value_of() {
  local wanted="$1" previous="" flag
  shift
  for flag in "$@"; do
    if [[ "$flag" = "$wanted="* ]]; then echo "${flag#*=}"; fi
    if [ "$previous" = "$wanted" ]; then echo "$flag"; fi
    previous="$flag"
  done
}

# fetch_workdir WORKDIR: from a bucket, or from the first host, where relative paths begin in ~/t5x_lite.
fetch_workdir() {
  local node
  if [[ "$1" = gs://* ]]; then
    call gcloud storage rsync --recursive "--exclude=^checkpoints/" "$1" "$to"
    return
  fi
  node="$(nodes | head -n 1)"
  ssh_to "$node" 0 "cd ~/t5x_lite && tar -czf ~/t5x_lite_run/workdir.tar.gz --exclude=./checkpoints -C $(printf %q "$1") ."
  tpu tpu-vm scp "$node:t5x_lite_run/workdir.tar.gz" "$to/workdir.tar.gz" --worker=0
  call tar -xzf "$to/workdir.tar.gz" -C "$to"
  call rm "$to/workdir.tar.gz"
}

fetch_logs() {
  local node hosts i
  for node in $(nodes); do
    hosts="$(tpu tpu-vm describe "$node" "--format=value(networkEndpoints.len())")"
    for ((i = 0; i < ${hosts:-1}; i++)); do
      tpu tpu-vm scp "$node:t5x_lite_run/log" "$to/logs/$node-$i.log" "--worker=$i"
    done
  done
}

# --- the commands

do_create() {
  [ -n "$type" ] || die "create: --type is missing: v5litepod-8 (8 chips of v5e), v5p-8 (4 of v5p), v6e-8 (8 of v6e), ..."
  [ -n "$version" ] || runtime_version >/dev/null
  remember create "${given[@]}"
  create_tpu
}

do_install() { install_on_hosts; }

do_run() {
  local workdir
  workdir="$(value_of --workdir ${flags[@]+"${flags[@]}"})"
  if [ -z "$workdir" ] || [ -z "$(value_of --config "${flags[@]}")" ]; then
    die "run: give the flags of t5x-lite after --, such as: -- --config configs/tpu.py:xl,lora --workdir gs://BUCKET/run"
  fi
  if [[ "$workdir" != gs://* ]]; then
    echo "tpu_vm.sh: $workdir is on the TPU VM's own disk, and goes with it; gs:// outlives a preemption" >&2
  fi
  remember run "${flags[@]}"
  run_on_hosts "${flags[@]}"
}

do_logs() { ssh_to "$(nodes | sed -n "$((slice + 1))p")" "$worker" "$logs_script"; }

do_status() {
  local now
  now="$(state ACTIVE)"
  echo "$name: ${now:-there is none}"
  case "$now" in READY | ACTIVE) on_hosts "$status_script" || failed "not every host answers" ;; esac
}

do_stop() { on_hosts "$stop_script" || failed "not every host has a run to stop"; }

do_fetch() {
  local workdir
  case "$to" in
    "") to="$folder/results" ;;
    /*) ;;
    *) to="$here/$to" ;;
  esac
  recall run
  workdir="$(value_of --workdir ${recalled[@]+"${recalled[@]}"})"
  [ -n "$workdir" ] || die "fetch: no run of $name is remembered ($folder/run is missing)"
  call mkdir -p "$to/logs"
  fetch_workdir "$workdir"
  fetch_logs
  echo "results: $to" >&2
}

do_resume() {
  [ -e "$folder/create" ] || die "resume: $name was not created from here ($folder/create is missing)"
  [ -e "$folder/run" ] || die "resume: there is no run of $name to go on with ($folder/run is missing)"
  local now
  now="$(state PREEMPTED)"
  case "$now" in
    READY | ACTIVE) ;;
    "" | PREEMPTED | TERMINATED | FAILED | SUSPENDED)
      echo "$name: ${now:-there is none}; making it anew" >&2
      if [ -n "$now" ]; then delete_tpu; fi
      create_tpu
      install_on_hosts
      ;;
    *) failed "resume: $name is $now; the same command again when that is over" ;;
  esac
  recall run
  run_on_hosts "${recalled[@]}"
}

do_delete() {
  delete_tpu
  call rm -f "$folder/create" "$folder/run"
}

wants_help() {
  local argument
  for argument in "$@"; do
    case "$argument" in
      --) return 1 ;;
      -h | --help) return 0 ;;
    esac
  done
  return 1
}

main() {
  if wants_help "$@"; then
    usage
    return
  fi
  command="${1:-}" name="${2:-}"
  local of_create="zone project type version slices spot queued" own
  case "$command" in
    create) own="$of_create" ;;
    logs) own="worker slice" ;;
    fetch) own="to" ;;
    install | run | status | stop | resume | delete) own="" ;;
    "") die "give a command and the name of a TPU; see --help" ;;
    *) die "there is no command $command; see --help" ;;
  esac
  [[ "$name" =~ ^[a-z][a-z0-9-]*$ ]] ||
    die "$command needs the name of a TPU: small letters, digits and hyphens, a letter first; got '$name'"
  given=("${@:3}")
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  folder="${T5X_LITE_TPU_VM:-runs/tpu_vm}/$name"
  if [ "$command" != create ]; then
    recall create
    options "$of_create" ${recalled[@]+"${recalled[@]}"}
  fi
  options "dry_run zone project $own" ${given[@]+"${given[@]}"}
  check_options
  if [ -z "$dry_run" ] && ! command -v gcloud >/dev/null; then
    die "gcloud is missing: https://cloud.google.com/sdk/docs/install"
  fi
  "do_$command"
}

exec 3>&1 # where dry runs print, also from within $(...)
main "$@"

#!/usr/bin/env bash
# From a fresh checkout to a trained, scored T5 in one command: installs the project, trains a tiny T5 from
# scratch on the bundled dialogues, generates summaries, scores them, and shows the report.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: scripts/quickstart.sh [WORKDIR] [--config.FIELD=VALUE ...]

Trains a tiny T5 from scratch on the bundled dialogues, writes summaries and scores them.
A laptop's CPU will do; under ten minutes, most of them for installing what it needs.

  WORKDIR                 where the run leaves its files (default: runs/quickstart)
  --config.FIELD=VALUE    changes a field of configs/quickstart.py

The virtual environment is .venv, or the active one, or $T5X_LITE_VENV; $PYTHON makes it.
USAGE
}

workdir=""
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  workdir="$1"
  shift
fi
for argument in "$@"; do
  case "$argument" in
    -h | --help)
      usage
      exit
      ;;
    --config.*) ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
done
# A workdir is named from where the user stands; only the default lies in the repository.
case "$workdir" in
  "") workdir=runs/quickstart ;;
  /*) ;;
  *) workdir="$PWD/$workdir" ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
install_into_environment ""

t5x-lite --config configs/quickstart.py --workdir "$workdir" "$@"

echo
cat "$workdir/report.md"
cat <<NEXT

All of it is in $workdir:
  report.md, report.json    scores and curves        samples.jsonl    what the model wrote
  metrics.jsonl             one line a step          checkpoints/     what training can resume from
  config.json               the whole configuration
Next: the recipes in configs/ say at their top what they do and the command that runs them.
NEXT

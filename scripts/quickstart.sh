#!/usr/bin/env bash
# From a fresh checkout to all three labs in one command, on the model and the dialogues that come along: installs,
# prompts, fine-tunes, tunes an adapter, scores, shows one table, and makes a rude summarizer polite by PPO.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: scripts/quickstart.sh [WORKDIR]

Prompts the bundled nano T5, fine-tunes it (fully, and with LoRA) on the bundled dialogues, scores all of it on
dialogues that no step has seen, and tunes a rude summarizer by PPO against a classifier of rude texts. A laptop's CPU
will do; ten to twenty minutes on two cores, the install in it.

  WORKDIR    where the runs leave their files (default: runs/quickstart); the same command again goes on there

The virtual environment is .venv, or the active one, or $T5X_LITE_VENV; $PYTHON makes it.
USAGE
}

case "${1:-}" in
  -h | --help)
    usage
    exit
    ;;
  -*)
    usage >&2
    exit 2
    ;;
esac
if [ $# -gt 1 ]; then
  usage >&2
  exit 2
fi
# A workdir is named from where the user stands; only the default lies in the repository.
case "${1:-}" in
  "") workdir=runs/quickstart ;;
  /*) workdir="$1" ;;
  *) workdir="$PWD/$1" ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
install_into_environment ""

step() {
  echo "
== $1" >&2
  shift
  t5x-lite "$@"
}

step "1/5 lab 1: prompting the model as it is" \
  --config configs/lab1_prompting.py:nano --workdir "$workdir/prompts"
step "2/5 lab 2: fine-tuning all of it" \
  --config configs/quickstart.py --workdir "$workdir/full"
step "3/5 lab 2: LoRA" \
  --config configs/quickstart.py:lora --workdir "$workdir/lora"
step "4/5 side by side" \
  --config "configs/compare.py:nano=$workdir/prompts,full fine-tune=$workdir/full,LoRA=$workdir/lora" \
  --workdir "$workdir/comparison"
step "5/5 lab 3: PPO, which makes a rude summarizer polite (it and the reward's classifier are trained first)" \
  --config configs/lab3_ppo.py --workdir "$workdir/ppo"

cat <<NEXT

All of it is in $workdir; open comparison/report.html first, then ppo/report.html. In each folder:
  report.html, .md, .json   scores and samples       config.json      the whole configuration
In those of the runs:       samples.jsonl, what the model wrote
In those of training:       metrics.jsonl, one line a step; checkpoints/; model/ or adapter/, for transformers or peft
On one page, to sort and to compare: t5x-lite index $workdir
Next: the recipes in configs/ say at their top what they do and the command that runs them.
NEXT

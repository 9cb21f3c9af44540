#!/usr/bin/env bash
# The tests on other Pythons, and on the newest versions of all that the package needs:
#
#   scripts/versions.sh                              Python 3.11, 3.12 and 3.13; then the newest of these with the newest
#   scripts/versions.sh tests/interop tests/models   of everything. Arguments go to pytest
#   ENVIRONMENTS="3.13:newest" scripts/versions.sh   PYTHON:tested (constraints.txt) or PYTHON:newest, with spaces between
#
# Each has an environment in runs/versions/, made anew where it is not there, and a log. What comes out: a table, also in
# runs/versions/table.md; the status is 1 if tests failed. A Python is python3.X on the path, or $PYTHON_X (PYTHON_3_13=...).
# About half an hour each on 2 cores with all tests; part of continuous integration's long run (.github/workflows/long.yml).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$PWD/runs/versions
mkdir -p "$out"
shown="jax jaxlib flax optax orbax-checkpoint transformers numpy"
{
  echo "| Python | versions | $(for name in $shown; do printf '%s | ' "$name"; done)tests |"
  echo "|---|---|$(for name in $shown; do printf -- '---|'; done)---|"
} >"$out/table.md"

status=0
for environment in ${ENVIRONMENTS:-3.11:tested 3.12:tested 3.13:tested 3.13:newest}; do
  number=${environment%%:*} set=${environment##*:}
  variable=PYTHON_${number//./_}
  python=${!variable:-python$number}
  venv=$out/$number-$set
  if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv"
  fi
  constraint=()
  [ "$set" = newest ] || constraint=(--constraint constraints.txt)
  echo "versions: Python $number, $set" >&2
  "$venv/bin/python" -m pip install --quiet --upgrade --upgrade-strategy eager --editable ".[test]" \
    ${constraint[@]+"${constraint[@]}"}
  result=passed
  "$venv/bin/python" -m pytest --numprocesses=2 --dist=loadfile "$@" >"$out/$number-$set.log" 2>&1 || { result=failed status=1; }
  "$venv/bin/python" - "$set" "$result" "$(tail -n 1 "$out/$number-$set.log")" $shown >>"$out/table.md" <<'PYTHON'
import importlib.metadata, platform, sys
kind, result, last, *shown = sys.argv[1:]
cells = [platform.python_version(), kind, *map(importlib.metadata.version, shown), f"{result}: {last.strip('= ')}"]
print(f"| {' | '.join(cells)} |")
PYTHON
done
cat "$out/table.md"
exit "$status"

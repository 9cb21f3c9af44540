#!/usr/bin/env bash
# Lint, types and tests. Arguments go to pytest:
#
#   scripts/test.sh                          everything but the slow tests, a file a process, two at a time
#   scripts/test.sh tests/models -k causal   lint, types, and these tests
#   scripts/test.sh -m slow                  lint, types, the slow tests, and scripts/supply_chain.sh
#
# The tests compare with PyTorch. Where pip would fetch its CUDA build and a CPU build will do, install that
# first, or name the index that holds it in PIP_EXTRA_INDEX_URL. The environment: see environment.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
install_into_environment "[test]"

ruff check .
ruff format --check .
mypy
# Most of a test is compilation, which takes one core. Of a few tests, starting the processes would take longer.
[ $# -gt 0 ] || set -- --numprocesses=2 --dist=loadfile
python -m pytest "$@"
# The long run also asks for known faults in what the package needs; 3: the database was out of reach.
if [[ " $* " == *" -m slow "* ]]; then
  scripts/supply_chain.sh || [ $? -eq 3 ]
fi

#!/usr/bin/env bash
# Builds the documentation, with warnings as errors: docs/_build/html/index.html. The environment: see environment.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
install_into_environment "[docs]"
sphinx-build -W --keep-going -q docs docs/_build/html "$@"
echo "docs/_build/html/index.html"

# Sourced by the scripts beside it, from the root of the repository: finds or makes the virtual environment,
# and installs the project there with the tested versions of constraints.txt.
#
# Which environment: $T5X_LITE_VENV, else the active one, else .venv.
# Which Python makes it: $PYTHON, else the first of python3, python3.13, 3.12, 3.11 that is 3.11 or newer.

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    # Running it is the test: a version manager may offer a name that starts nothing.
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  echo "No Python 3.11 or newer among: ${PYTHON:-python3 python3.13 python3.12 python3.11}." \
    "Install one, or name it: PYTHON=/path/to/python $0" >&2
  return 1
}

# install_into_environment EXTRAS: EXTRAS is "" or a name such as "[test]". Leaves the environment active.
install_into_environment() {
  local extras="$1" venv="${T5X_LITE_VENV:-${VIRTUAL_ENV:-.venv}}" python wanted stamp
  if [ ! -x "$venv/bin/python" ]; then
    python="$(find_python)" || return 1
    echo "Making a virtual environment in $venv ($("$python" --version))" >&2
    "$python" -m venv "$venv" || return 1
  fi
  # shellcheck source=/dev/null
  . "$venv/bin/activate"
  stamp="$VIRTUAL_ENV/.t5x_lite_installed$extras"
  wanted="$(
    python - "$PWD" pyproject.toml constraints.txt <<'PYTHON'
import hashlib, pathlib, sys
parts = [sys.version.encode(), sys.argv[1].encode()] + [pathlib.Path(p).read_bytes() for p in sys.argv[2:]]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())
PYTHON
  )"
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing t5x-lite$extras with the versions of constraints.txt into $VIRTUAL_ENV" >&2
    python -m pip install --quiet --editable ".$extras" --constraint constraints.txt || return 1
    echo "$wanted" >"$stamp"
  fi
}

#!/usr/bin/env bash
# A bill of materials of what the package needs, and known faults in it:
#
#   scripts/supply_chain.sh                 into runs/supply_chain/
#   scripts/supply_chain.sh FOLDER
#
# What comes out: sbom.json (CycloneDX) of an environment with t5x-lite and its dependencies alone, in the versions of
# constraints.txt, and audit.json, what pip-audit knows of them. The tools are in an environment of their own, and are no
# dependency of the package. Status: 0, nothing is known; 1, something is; 3, the database could not be reached, and
# nothing is known of faults (the bill is there). Part of continuous integration's long run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-runs/supply_chain}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet cyclonedx-bom pip-audit
python -m venv "$work/package"
"$work/package/bin/pip" install --quiet --constraint constraints.txt .

"$work/tools/bin/cyclonedx-py" environment "$work/package/bin/python" --output-format JSON --output-file "$out/sbom.json"
echo "supply_chain: $(grep -c '"purl"' "$out/sbom.json") packages in $out/sbom.json"

# Of exactly what is installed: nothing is resolved anew.
"$work/package/bin/pip" freeze --exclude t5x-lite >"$work/requirements.txt"
grep -v ' @ ' "$work/requirements.txt" >"$work/audited.txt" || true
status=0
"$work/tools/bin/pip-audit" --requirement "$work/audited.txt" --no-deps --disable-pip --format json \
  --output "$out/audit.json" 2>"$work/errors" || status=$?
tail -n 5 "$work/errors" >&2
if [ ! -s "$out/audit.json" ]; then
  echo "supply_chain: the database of known faults could not be reached from here: nothing was audited" >&2
  exit 3
fi
exit "$status"

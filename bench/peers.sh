#!/usr/bin/env bash
# Makes the environment of LLaMA-Factory for `make bench` (minutes; about 2 GB): its pins differ from KripTik's, so it has its own.
set -euo pipefail
cd "$(dirname "$0")/.."
home=build/peers/llamafactory
python3 -m venv "$home"
"$home/bin/pip" install -q torch==2.13.0
"$home/bin/pip" install -q llamafactory==0.9.5 torch==2.13.0
# Image and sound libraries that it imports but a text run never calls; their builds for GPUs do not load on a CPU.
"$home/bin/pip" uninstall -q -y torchvision torchaudio
stub=$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torchaudio
mkdir -p "$stub" && echo '__version__ = "0"' >"$stub/__init__.py"
# Rows of instructions for `--rows alpaca`: in its source package, read where they lie and never copied into this repository.
"$home/bin/pip" download -q --no-deps --no-binary llamafactory -d build/peers llamafactory==0.9.5
tar -xzf build/peers/llamafactory-0.9.5.tar.gz -C build/peers --strip-components=2 llamafactory-0.9.5/data/alpaca_en_demo.json
"$home/bin/python" -c 'import llamafactory.train.tuner' && echo "LLaMA-Factory is ready"

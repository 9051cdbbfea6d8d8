#!/usr/bin/env bash
# Recordings of a speaker with her words, for bench/voice.py: Debian's asterisk-core-sounds (CC BY-SA 3.0), unpacked, not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/recordings
cd build/recordings
for package in asterisk-core-sounds-en asterisk-core-sounds-en-wav; do
  ls "$package"_*.deb >/dev/null 2>&1 || apt-get download -qq "$package"
  dpkg-deb -x "$package"_*.deb en
done
echo build/recordings

#!/usr/bin/env bash
# Recordings of two speakers with their words, for bench/voice.py: Debian's asterisk-core-sounds (CC BY-SA 3.0), unpacked, not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/recordings
cd build/recordings
for language in en fr; do
  for package in "asterisk-core-sounds-$language" "asterisk-core-sounds-$language-wav"; do
    ls "$package"_*.deb >/dev/null 2>&1 || apt-get download -qq "$package"
    dpkg-deb -x "$package"_*.deb "$language"
  done
done
echo build/recordings

#!/usr/bin/env bash
# Finds a Chromium for the browser tests, or installs Debian's where this user may.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
as_root=
if [ "$(id -u)" != 0 ]; then
  as_root="sudo -n"
  sudo -n true 2>/dev/null || { echo "There is no Chromium here, and this user may not install it: apt-get install chromium" >&2; exit 1; }
fi
echo "setup: installing Debian's Chromium"
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends chromium fonts-liberation >/dev/null

"""A server process of its own, to be killed: `serve_home.py HOME PORT`. It has no provider."""

import sys
from pathlib import Path

import uvicorn

from kriptik.server.app import create_app
from kriptik.server.settings import Settings

app = create_app(Settings.from_env(home=Path(sys.argv[1]), port=int(sys.argv[2]), tick_s=0.2), providers={})
uvicorn.run(app, port=int(sys.argv[2]), log_level="error", access_log=False)

"""What a browser is given: the built page, a plain one where none was built, and the headers that keep both to themselves."""

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, HTMLResponse

import kriptik
from kriptik.spec.errors import NotFoundError

STATIC = Path(kriptik.__file__).parent / "static"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; font-src 'self'; "
    "connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
NO_PAGE_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;background:#0a0d12;color:#e9eef3;max-width:34rem;margin:0 auto;padding:12vh 20px 40px}"
    "h1{font-size:30px;line-height:1.15;letter-spacing:-.015em;margin:0 0 12px}p{color:#b3bec9;margin:0 0 16px}"
    "pre{background:#10151c;border:1px solid #2a323c;border-radius:12px;padding:16px 20px;margin:0 0 16px;overflow:auto}"
    "pre,code{font-family:ui-monospace,monospace;font-size:14px;color:#5ee0c4}"
)
NO_PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>KripTik</title>
<style>{NO_PAGE_STYLE}</style><main><h1>KripTik is running</h1>
<p>Its web page was not built yet. In KripTik's folder, run</p><pre>make web</pre><p>then reload this page. Until then the command
line does everything: <code>kriptik --help</code>. The API is at <code>/api/training</code>.</p></main></html>
"""
INLINE_STYLE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"}
"""For pages that are one file: they hold their style and nothing else."""


def add(app: FastAPI) -> None:
    """Unknown API paths are problems; every other path is a file of the built page, or the page itself."""

    @app.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def no_such_route(rest: str) -> None:
        raise NotFoundError("no_such_route", f"There is no /api/{rest[:200]}.", f"See {app.openapi_url}.")

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> Response:
        index = STATIC / "index.html"
        if not index.is_file():
            return HTMLResponse(NO_PAGE, headers=INLINE_STYLE)
        file = (STATIC / path).resolve()
        if path and file.is_relative_to(STATIC.resolve()) and file.is_file():
            lasting = path.startswith("assets/")
            return FileResponse(file, headers={"Cache-Control": "public, max-age=31536000, immutable" if lasting else "no-cache"})
        if "." in path.rsplit("/", 1)[-1]:
            raise NotFoundError("no_such_file", "There is no such file.")
        return FileResponse(index, headers={"Cache-Control": "no-cache"})

"""Writes docs/api.md from the server's own OpenAPI document: every route with an example. `--check` only compares."""

import json
import sys
from pathlib import Path
from typing import Any

from web_api import document

TARGET = Path(__file__).resolve().parents[1] / "docs" / "api.md"
HEAD = """# API

Generated from the server's OpenAPI document (`GET /api/training/openapi.json`) by `scripts/api_docs.py`.

Every route but health, sign-in and the signed resume link needs `Authorization: Bearer <token>`; the token of this machine's owner
is in `$KRIPTIK_HOME/token`. JSON is camelCase. Errors are problem+json: `type`, `title`, `status`, `detail`, `code`,
`nextStep`, `fields`. Streams are server-sent events; go on after a break with `Last-Event-ID` or `?after=`.

```sh
curl -H "Authorization: Bearer $(cat ~/.kriptik/token)" http://127.0.0.1:7860/api/training/jobs
```
"""
EXAMPLES: dict[str, Any] = {
    "prompt": "Quick fine-tune SmolLM2 for our customer support, budget $1",
    "nlpModification": "use 2 epochs and a smaller model",
    "nlpPrompt": "I want a smaller model",
    "maxBudget": 1.0,
    "newBudget": 2.0,
    "termsAccepted": True,
    "textPrompt": "Do you offer a guarantee on your work?",
    "budgetAuthorization": {
        "maxBudget": 1.0,
        "notifyAtPercent": 80,
        "freezeAtPercent": 95,
        "notificationChannels": ["in_app"],
        "termsAccepted": True,
    },
}
DEPTH = 3


def main() -> None:
    """Writes the page, or fails if it is not what it would be."""
    text = render(document())
    if "--check" in sys.argv:
        raise SystemExit(0 if TARGET.is_file() and TARGET.read_text() == text else "docs/api.md is stale: run scripts/api_docs.py")
    TARGET.write_text(text)


def render(api: dict[str, Any]) -> str:
    """The whole page, routes grouped by tag in the order of the document."""
    schemas = api["components"]["schemas"]
    by_tag: dict[str, list[str]] = {}
    for path, methods in api["paths"].items():
        for method, route in methods.items():
            tag = (route.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_route(method.upper(), path, route, schemas))
    return HEAD + "".join(f"\n## {tag.capitalize()}\n" + "".join(routes) for tag, routes in by_tag.items())


def _route(method: str, path: str, route: dict[str, Any], schemas: dict[str, Any]) -> str:
    parts = [f"\n### {method} {path}\n\n{route.get('description') or route.get('summary', '')}\n"]
    query = [p for p in route.get("parameters", []) if p["in"] == "query"]
    if query:
        parts.append("\nQuery: " + ", ".join(f"`{p['name']}`" for p in query) + ".\n")
    content = route.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        body = _example(content["application/json"]["schema"], schemas, DEPTH)
        parts.append(f"\n```json\n{json.dumps(body, indent=2, ensure_ascii=False)}\n```\n")
    elif content:
        parts.append(f"\nBody: `{next(iter(content))}`.\n")
    answer = next((a for status, a in route["responses"].items() if status.startswith("2")), {})
    schema = next(iter(answer.get("content", {}).values()), {}).get("schema", {})
    if schema:
        parts.append(f"\nAnswers {_name(schema)}.\n")
    return "".join(parts)


def _example(schema: dict[str, Any], schemas: dict[str, Any], depth: int, name: str = "") -> Any:
    if name in EXAMPLES:
        return EXAMPLES[name]
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas, depth, name)
    if "default" in schema and schema["default"] is not None:
        return schema["default"]
    for choice in schema.get("anyOf", []) + schema.get("oneOf", []) + schema.get("allOf", []):
        if choice.get("type") != "null":
            return _example(choice, schemas, depth, name)
    if "enum" in schema or "const" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties", {}).items()
        return {key: _example(value, schemas, depth - 1, key) for key, value in fields} if depth else {}
    if kind == "array":
        return []
    return {"string": "…", "number": 1.0, "integer": 1, "boolean": True}.get(kind or "")


def _name(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rsplit('/', 1)[-1]}`"
    choices = [_name(s) for s in schema.get("anyOf", []) if s.get("type") != "null"]
    return " or ".join(choices) if choices else f"`{schema.get('type', 'anything')}`"


if __name__ == "__main__":
    main()

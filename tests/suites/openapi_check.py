"""Holds HTTP requests and answers to an OpenAPI 3.1 document: paths, query parameters, bodies, status codes, content types."""

import json
import os
import re
from functools import cache
from pathlib import Path

from jsonschema import Draft202012Validator

HERE = Path(__file__).parent
OFFICIAL = "KRIPTIK_RUNPOD_OPENAPI"
"""Environment variable: where RunPod's official document lies. It states no licence, so it is not part of the repository."""


def runpod_document():
    """(document, whether it is the official one). Elsewhere the small excerpt beside this file, written by hand, stands in."""
    root = HERE.parents[1]
    places = [os.environ.get(OFFICIAL), root.parent / "shared" / "data" / "runpod-openapi-v2.json"]
    for place in filter(None, places):
        if Path(place).is_file():
            return json.loads(Path(place).read_text()), True
    return json.loads((HERE / "runpod_excerpt.json").read_text()), False


class Contract:
    """One document. `request` and `answer` return what is wrong, as sentences; nothing where all is well."""

    def __init__(self, document):
        self.document = document
        self.paths = [(_pattern(template), template) for template in document["paths"]]
        self.checked = {"requests": 0, "answers": 0}

    def request(self, method, path, query, body):
        self.checked["requests"] += 1
        operation, shared = self._operation(method, path)
        if operation is None:
            return [f"{method} {path} is not in the document"]
        wrong = []
        declared = {p["name"]: p for p in map(self._resolve, shared + operation.get("parameters", [])) if p["in"] == "query"}
        for name, value in query.items():
            if name not in declared:
                wrong.append(f"query parameter {name} is unknown")
            else:
                schema = self._resolve(declared[name]["schema"])
                wrong += [f"query {name}: {w}" for w in self._errors(declared[name]["schema"], _typed(value, schema))]
        wanted = operation.get("requestBody")
        if body is None:
            if wanted and wanted.get("required"):
                wrong.append("a body is required")
        elif not wanted:
            wrong.append("a body is not expected")
        else:
            wrong += self._errors(wanted["content"]["application/json"]["schema"], body)
        return wrong

    def answer(self, method, path, status, content_type, body):
        self.checked["answers"] += 1
        operation, _shared = self._operation(method, path)
        if operation is None:
            return [f"{method} {path} is not in the document"]
        answers = operation["responses"]
        declared = answers.get(str(status), answers.get("default") if status >= 400 else None)
        if declared is None:
            return [f"status {status} is not declared for {method} {path}"]
        content = self._resolve(declared).get("content")
        if not content:
            return [f"status {status} has no body"] if body else []
        if content_type not in content:
            return [f"content type {content_type} is not declared for status {status}"]
        schema = content[content_type]["schema"]
        return self._errors(schema, body)

    def _operation(self, method, path):
        for pattern, template in self.paths:
            if pattern.fullmatch(path):
                item = self.document["paths"][template]
                return item.get(method.lower()), item.get("parameters", [])
        return None, []

    def _resolve(self, node):
        while "$ref" in node:
            found = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node

    def _errors(self, schema, value):
        return [
            f"{'/'.join(map(str, e.path)) or 'body'}: {e.message[:200]}"
            for e in self._validator(json.dumps(schema)).iter_errors(value)
        ]

    @cache  # noqa: B019 - one contract lives as long as the test run
    def _validator(self, schema):
        return Draft202012Validator({"allOf": [json.loads(schema)], "components": self.document["components"]})


def _pattern(template):
    return re.compile(re.sub(r"\{[^}]+\}", "[^/]+", template))


def _typed(value, schema):
    """A query's text as the type its schema asks for."""
    kind = schema.get("type")
    if kind == "integer" and value.lstrip("-").isdigit():
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    return value.split(",") if kind == "array" else value

"""Documents → passages: PDF (pypdf), DOCX (python-docx), HTML (markdownify), Markdown and plain text.

A new kind of document: one reader here and one line in `READERS`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kriptik.data import text
from kriptik.spec.errors import DataError

SIZE, LEAST = 1_500, 120
"""Characters that a passage has at most (but for one long paragraph) and at least."""
MOST_BYTES, MOST_PAGES = 200 << 20, 5_000
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$")


@dataclass(frozen=True)
class Passage:
    """A piece of a document. `page` is 1-based where there are pages; `heading` what it stands under."""

    text: str
    file: str
    page: int | None = None
    heading: str = ""

    @property
    def sha256(self) -> str:
        """Of its text: what a row made out of it names."""
        return hashlib.sha256(self.text.encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True)
class Block:
    """A paragraph, or a heading where `level` is above 0."""

    text: str
    level: int = 0
    page: int | None = None


def read_passages(path: Path, name: str) -> Iterator[Passage]:
    """The passages of a document, in order. Raises DataError for what is none, is damaged, or holds no text."""
    reader = READERS.get(Path(name).suffix.lower())
    if reader is None:
        known = ", ".join(sorted(READERS))
        raise DataError("unsupported_document", f"{name[:80]!r} is no document that can be read here.", f"Send one of: {known}.")
    if path.stat().st_size > MOST_BYTES:
        raise DataError("document_too_large", f"{name[:80]!r} is larger than {MOST_BYTES >> 20} MB.", "Send it in parts.")
    found = False
    for passage in _gathered(reader(path), name):
        found = True
        yield passage
    if not found:
        raise DataError(
            "document_without_text", f"No text was found in {name[:80]!r}.", "A scan has to be turned into text first (OCR)."
        )


def _gathered(blocks: Iterator[Block], name: str) -> Iterator[Passage]:
    """Paragraphs under one heading, joined up to `SIZE`; a page does not end a passage, its first page is named."""
    heading, pieces, page = "", [], None

    def done() -> Passage | None:
        whole = "\n\n".join(pieces).strip()
        return Passage(whole, name, page, heading) if len(whole) >= LEAST else None

    for block in blocks:
        piece = text.clean(block.text).strip()
        if not piece:
            continue
        if block.level or sum(map(len, pieces)) + len(piece) > SIZE:
            if passage := done():
                yield passage
                pieces = []
            elif block.level:
                pieces = []
        if block.level:
            heading = text.shorten(piece, 200)
            continue
        page = block.page if not pieces else page
        pieces.append(piece)
    if passage := done():
        yield passage


def _pdf(path: Path) -> Iterator[Block]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        document = PdfReader(path)
        if document.is_encrypted and not document.decrypt(""):
            raise DataError("document_locked", "The PDF is locked by a password.", "Save it without one.")
        for number, page in enumerate(document.pages[:MOST_PAGES], 1):
            for piece in re.split(r"\n\s*\n", page.extract_text()):
                yield Block(re.sub(r"(?<=\w)-\n(?=[a-zà-ÿ])", "", piece).replace("\n", " "), page=number)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise _damaged("PDF", error) from error


def _docx(path: Path) -> Iterator[Block]:
    from zipfile import BadZipFile

    from docx import Document
    from docx.opc.exceptions import OpcError

    try:
        document = Document(str(path))
    except (OpcError, BadZipFile, KeyError, ValueError, OSError) as error:
        raise _damaged("Word document", error) from error
    for part in document.iter_inner_content():
        if hasattr(part, "rows"):
            rows = (" | ".join(cell.text.strip() for cell in row.cells) for row in part.rows)  # type: ignore[union-attr]
            yield Block("\n".join(rows))
            continue
        style = (part.style.name or "").lower() if part.style else ""  # type: ignore[union-attr]
        level = 1 if style.startswith(("heading", "title")) else 0
        yield Block(part.text, level)  # type: ignore[union-attr]


def _html(path: Path) -> Iterator[Block]:
    from bs4 import BeautifulSoup
    from markdownify import markdownify

    page = BeautifulSoup(path.read_bytes(), "html.parser")
    for part in page(["script", "style", "nav", "footer", "header", "aside", "form", "noscript", "svg"]):
        part.decompose()
    main = page.find("main") or page.find("article") or page.body or page
    yield from _blocks(markdownify(str(main), heading_style="ATX", strip=["a", "img"]))


def _markdown(path: Path) -> Iterator[Block]:
    encoding = text.detect_encoding(path)
    if encoding is None:
        raise _damaged("text file", ValueError("it is binary"))
    yield from _blocks(path.read_text(encoding, errors="replace"))


def _blocks(source: str) -> Iterator[Block]:
    for piece in re.split(r"\n\s*\n", source):
        lines = piece.strip("\n").split("\n")
        while lines and (found := _HEADING.match(lines[0].strip())):
            yield Block(found.group(1), 1)
            lines = lines[1:]
        if lines:
            yield Block("\n".join(lines))


def _damaged(what: str, error: Exception) -> DataError:
    return DataError("bad_document", f"The {what} cannot be read: {text.shorten(str(error), 120)}", "Save it again and send that.")


READERS: dict[str, Callable[[Path], Iterator[Block]]] = {
    ".pdf": _pdf,
    ".docx": _docx,
    ".html": _html,
    ".htm": _html,
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _markdown,
}

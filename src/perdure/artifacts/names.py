"""Names and media types of artifacts."""

from __future__ import annotations

import mimetypes

MAX_NAME = 512
MAX_MEDIA_TYPE = 255
_KNOWN = {
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".ndjson": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".toml": "application/toml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_types = mimetypes.MimeTypes()
"""Python's own table, not the machine's: a name has the same type everywhere."""


def artifact_name(name: str) -> str:
    """The name as it is listed. Raises ValueError for one that is empty, too long or leaves its folder."""
    parts = name.split("/")
    if not name or len(name.encode(errors="surrogatepass")) > MAX_NAME:
        raise ValueError(f"an artifact's name has 1 to {MAX_NAME} bytes")
    if any(part in {"", ".", ".."} for part in parts) or not name.isprintable() or "\\" in name:
        raise ValueError(f"{name!r} is no artifact name; write name.ext or folder/name.ext, without . and ..")
    return name


def recordable_media_type(text: str) -> str:
    """The media type that somebody chose. Raises ValueError for what no header can carry."""
    if not 0 < len(text) <= MAX_MEDIA_TYPE or not text.isascii() or not text.isprintable():
        raise ValueError(f"{text[:60]!r} is no media type; write 1 to {MAX_MEDIA_TYPE} printable ASCII characters")
    return text


def media_type(name: str) -> str:
    """By the name's suffix; `application/octet-stream` when it is unknown."""
    suffix = "." + name.rpartition(".")[2].lower()
    return _KNOWN.get(suffix) or _types.guess_type(name, strict=True)[0] or "application/octet-stream"

"""The nodes of the licence audit: list what is installed, read each one's metadata, classify, report."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageMetadata, distribution, distributions
from typing import Any

from licence_texts import id_by_classifier, id_by_name, id_by_text
from spdx_expression import FAMILIES, NotAnExpression, licence_ids, parse
from spdx_expression import family as family_of

from perdure import artifact

log = logging.getLogger(__name__)

LICENCE_FILE = re.compile(r"(licen[cs]e|copying|unlicense)", re.IGNORECASE)
TEXT_CHARS = 40_000
"""How much of a licence file is read; the words that tell licences apart stand further up."""


def list_distributions(skip: list[str]) -> list[dict[str, str]]:
    """Name and version of every distribution in the environment of the server, but those in `skip`."""
    skipped = {_normal(name) for name in skip}
    found = {_normal(item.name): {"name": item.name, "version": item.version} for item in distributions() if item.name}
    return [found[key] for key in sorted(found) if key not in skipped]


def read_metadata(name: str) -> dict[str, Any]:
    """What a distribution itself says about its licence, with the text of its licence files."""
    found = distribution(name)
    metadata = found.metadata
    return {
        "name": name,
        "version": found.version,
        "expression": _only(metadata, "License-Expression"),
        "field": _only(metadata, "License"),
        "classifiers": [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")],
        "files": [{"path": path, "licence": id_by_text(text)} for path, text in _licence_files(found)],
    }


def classify(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each distribution: its licence as an SPDX expression, its family, and what told us."""
    return [_classified(item) for item in found]


def write_reports(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Publish `licences.json` and `licences.md` as artifacts; the answer is the summary."""
    counts = {name: sum(row["family"] == name for row in rows) for name in FAMILIES}
    summary = {
        "total": len(rows),
        "families": {name: count for name, count in counts.items() if count},
        "copyleft": {name: _names(rows, name) for name in FAMILIES if "copyleft" in name},
        "unknown": _names(rows, "unknown"),
    }
    artifact(json.dumps({"summary": summary, "distributions": rows}, indent=2).encode(), "licences.json")
    artifact(_markdown(summary, rows).encode(), "licences.md")
    return summary


def _names(rows: list[dict[str, Any]], family: str) -> list[str]:
    return [row["name"] for row in rows if row["family"] == family]


def _only(metadata: PackageMetadata, key: str) -> str | None:
    found = metadata.get_all(key)
    return str(found[0]) if found else None


def _licence_files(found: Distribution) -> Iterator[tuple[str, str]]:
    for path in found.files or ():
        if LICENCE_FILE.search(path.name) and path.suffix in {"", ".txt", ".md", ".rst"}:
            try:
                yield str(path), path.read_text(encoding="utf-8")[:TEXT_CHARS]
            except (OSError, UnicodeDecodeError) as error:
                log.warning("%s: %s: %s", found.name, path, error)


def _classified(item: dict[str, Any]) -> dict[str, Any]:
    expression, source = _evidence(item)
    row = {"name": item["name"], "version": item["version"], "licence": expression, "source": source}
    if expression is None:
        return row | {"ids": [], "family": "unknown"}
    tree = parse(expression)
    return row | {"ids": licence_ids(tree), "family": family_of(tree)}


def _evidence(item: dict[str, Any]) -> tuple[str | None, str]:
    """The best statement there is: the expression (PEP 639), then the classifiers, the field, the files."""
    if _is_expression(item["expression"]):
        return item["expression"], "expression"
    # Several classifiers leave open whether one may choose; the stricter reading cannot be wrong.
    classified = list(dict.fromkeys(filter(None, map(id_by_classifier, item["classifiers"]))))
    if classified:
        return " AND ".join(classified), "classifiers"
    field = (item["field"] or "").strip()
    named = id_by_name(field) or id_by_text(field)
    if named:
        return named, "field"
    if _is_expression(field) and all(family_of(parse(spdx)) != "unknown" for spdx in licence_ids(parse(field))):
        return field, "field"
    texts = list(dict.fromkeys(file["licence"] for file in item["files"] if file["licence"]))
    if texts:
        return " AND ".join(texts), "files"
    return None, "none"


def _is_expression(text: str | None) -> bool:
    try:
        parse(text or "")
    except NotAnExpression:
        return False
    return True


def _markdown(summary: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    lines = [f"# Licences of {summary['total']} distributions", "", "| family | distributions |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in summary["families"].items()]
    lines += ["", "| distribution | version | licence | family | known from |", "|---|---|---|---|---|"]
    by_rank = sorted(rows, key=lambda row: (-FAMILIES.index(row["family"]), row["name"].lower()))
    lines += [
        f"| {row['name']} | {row['version']} | {row['licence'] or '–'} | {row['family']} | {row['source']} |"
        for row in by_rank
    ]
    return "\n".join(lines) + "\n"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

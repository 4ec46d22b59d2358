"""The audit tells a distribution's licence from the best statement that its metadata holds."""

from importlib.metadata import distributions

import pytest
from licence_audit import classify, list_distributions, read_metadata
from licence_texts import id_by_text

SILENT: dict[str, object] = {
    "name": "x",
    "version": "1",
    "expression": None,
    "field": None,
    "classifiers": [],
    "files": [],
}


def row(**said: object) -> dict[str, object]:
    return classify([SILENT | said])[0]


@pytest.mark.parametrize(
    ("said", "licence", "family", "source"),
    [
        ({"expression": "MIT OR Apache-2.0", "field": "GPL-3.0"}, "MIT OR Apache-2.0", "permissive", "expression"),
        ({"classifiers": ["License :: OSI Approved :: MIT License"]}, "MIT", "permissive", "classifiers"),
        (
            {"classifiers": ["License :: OSI Approved :: MIT License", "License :: OSI Approved :: Apache Software License"]},
            "MIT AND Apache-2.0", "permissive", "classifiers",
        ),
        ({"classifiers": ["License :: OSI Approved"], "field": "BSD"}, "BSD-3-Clause", "permissive", "field"),
        ({"field": "LGPL-3.0-or-later"}, "LGPL-3.0-or-later", "weak copyleft", "field"),
        ({"field": "see LICENSE"}, None, "unknown", "none"),
        ({"files": [{"path": "LICENSE", "licence": "ISC"}]}, "ISC", "permissive", "files"),
        ({"expression": "no expression at all!"}, None, "unknown", "none"),
        ({}, None, "unknown", "none"),
    ],
)  # fmt: skip
def test_the_best_statement_counts(said: dict[str, object], licence: str, family: str, source: str) -> None:
    found = row(**said)
    assert (found["licence"], found["family"], found["source"]) == (licence, family, source)


def test_what_is_installed_is_listed_once_each_without_those_to_skip() -> None:
    names = {item["name"] for item in list_distributions([])}
    assert names <= {item.name for item in distributions()}
    assert {item["name"] for item in list_distributions(["CLICK", "pyyaml"])} == names - {"click", "PyYAML"}


def test_real_metadata_tells_real_licences() -> None:
    rows = {row["name"]: row for row in classify([read_metadata(name) for name in ("click", "certifi", "pluggy")])}
    assert {name: row["family"] for name, row in rows.items()} == {
        "click": "permissive",
        "certifi": "weak copyleft",
        "pluggy": "permissive",
    }


def test_a_licence_is_known_by_its_text() -> None:
    text = """Permission is hereby granted, free of charge, to any person … The above
    copyright notice and this permission notice shall be included …"""
    assert id_by_text(text) == "MIT"
    assert id_by_text("All rights reserved.") is None

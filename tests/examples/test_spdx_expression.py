"""SPDX expressions are read as annex D says, and belong to the family that binds the receiver."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spdx_expression import FAMILIES, Compound, Licence, NotAnExpression, family, licence_ids, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", "permissive"),
        ("mit", "permissive"),
        ("Apache-2.0 WITH LLVM-exception", "permissive"),
        ("GPL-2.0-only", "strong copyleft"),
        ("GPL-2.0+", "strong copyleft"),
        ("GPL-2.0-or-later WITH Classpath-exception-2.0", "weak copyleft"),
        ("LGPL-2.1-or-later", "weak copyleft"),
        ("MPL-2.0", "weak copyleft"),
        ("Unlicense", "public domain"),
        ("LicenseRef-Proprietary", "proprietary"),
        ("LicenseRef-Our-Own", "unknown"),
        ("MIT OR GPL-3.0-only", "permissive"),
        ("MIT AND GPL-3.0-only", "strong copyleft"),
        ("MIT AND (GPL-3.0-only OR MPL-2.0)", "weak copyleft"),
        ("MIT OR Apache-2.0 AND GPL-3.0-only", "permissive"),
        ("(MIT OR Apache-2.0) AND GPL-3.0-only", "strong copyleft"),
        ("Unlicense OR LicenseRef-Our-Own", "public domain"),
        ("MIT AND LicenseRef-Our-Own", "unknown"),
    ],
)
def test_the_family_of_an_expression(text: str, expected: str) -> None:
    assert family(parse(text)) == expected


def test_with_binds_tighter_than_and_and_and_tighter_than_or() -> None:
    assert parse("MIT OR GPL-2.0-only WITH Classpath-exception-2.0 AND ISC") == Compound(
        "OR", (Licence("MIT"), Compound("AND", (Licence("GPL-2.0-only", "Classpath-exception-2.0"), Licence("ISC"))))
    )


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        ("MIT OR", 7),
        ("MIT Apache-2.0", 5),
        ("(MIT", 5),
        ("MIT)", 4),
        ("AND MIT", 1),
        ("MIT / ISC", 4),
        ("MIT WITH", 9),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text: str, column: int) -> None:
    with pytest.raises(NotAnExpression) as refused:
        parse(text)
    assert refused.value.column == column


IDS = st.sampled_from(["MIT", "GPL-3.0-only", "MPL-2.0", "Unlicense", "LicenseRef-x", "BUSL-1.1"])
TREES = st.recursive(
    IDS.map(Licence),
    lambda parts: st.builds(
        Compound, st.sampled_from(["AND", "OR"]), st.lists(parts, min_size=2, max_size=4).map(tuple)
    ),
)


def written(tree: Licence | Compound) -> str:
    if isinstance(tree, Licence):
        return tree.id
    return "(" + f" {tree.operator} ".join(map(written, tree.parts)) + ")"


@given(TREES)
def test_a_written_expression_is_read_back(tree: Licence | Compound) -> None:
    assert parse(written(tree)) == tree


@given(TREES)
def test_an_expression_is_never_stricter_than_its_strictest_licence_nor_milder_than_its_mildest(
    tree: Licence | Compound,
) -> None:
    ranks = [FAMILIES.index(family(Licence(spdx))) for spdx in licence_ids(tree)]
    assert min(ranks) <= FAMILIES.index(family(tree)) <= max(ranks)

"""SPDX licence expressions (SPDX 2.3, annex D), and the family that an expression belongs to.

A family says what a licence asks of those who pass the software on. Of alternatives (`OR`) the
mildest counts, because the receiver may choose; of joint licences (`AND`) the strictest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FAMILIES = ("public domain", "permissive", "weak copyleft", "strong copyleft", "proprietary", "unknown")
"""From the mildest to the strictest; what is unknown is to be feared most."""

_IDS = {
    "public domain": "0BSD CC0-1.0 CC-PDDC Unlicense WTFPL blessing SAX-PD PDDL-1.0",
    "permissive": """
        AFL-2.0 AFL-2.1 AFL-3.0 Apache-1.0 Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-2.0 BlueOak-1.0.0 BSD-1-Clause
        BSD-2-Clause BSD-2-Clause-Patent BSD-2-Clause-Views BSD-3-Clause BSD-3-Clause-Clear BSD-3-Clause-LBNL
        BSD-4-Clause BSD-Source-Code BSL-1.0 bzip2-1.0.6 CC-BY-3.0 CC-BY-4.0 CNRI-Python curl ECL-2.0 EFL-2.0 FSFAP
        FTL HPND HPND-sell-variant ICU IJG Info-ZIP ISC JSON Libpng libpng-2.0 libtiff MIT MIT-0 MIT-CMU
        MIT-Modern-Variant MulanPSL-2.0 NCSA NTP OLDAP-2.8 OpenSSL PHP-3.01 PostgreSQL PSF-2.0 Python-2.0
        Python-2.0.1 Ruby SMLNJ TCL Unicode-3.0 Unicode-DFS-2016 UPL-1.0 Vim W3C X11 Xnet Zlib zlib-acknowledgement
        ZPL-2.0 ZPL-2.1
        """,
    "weak copyleft": """
        APSL-2.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CDDL-1.0 CDDL-1.1 CECILL-C CPL-1.0 EPL-1.0 EPL-2.0 ErlPL-1.1 IPL-1.0
        LGPL-2.0 LGPL-2.1 LGPL-3.0 LPPL-1.3c MPL-1.0 MPL-1.1 MPL-2.0 MPL-2.0-no-copyleft-exception MS-RL OFL-1.0
        OFL-1.1 OSL-1.0 SPL-1.0
        """,
    "strong copyleft": """
        AGPL-1.0 AGPL-3.0 CECILL-2.0 CECILL-2.1 EUPL-1.1 EUPL-1.2 GFDL-1.2 GFDL-1.3 GPL-1.0 GPL-2.0 GPL-3.0 ODbL-1.0
        OSL-3.0 QPL-1.0 RPL-1.5 Sleepycat
        """,
    "proprietary": "BUSL-1.1 CC-BY-NC-4.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 Elastic-2.0 PolyForm-Noncommercial-1.0.0 SSPL-1.0",
}
_FAMILY_OF = {spdx.lower(): family for family, ids in _IDS.items() for spdx in ids.split()}
_NAME_OF = {spdx.lower(): spdx for ids in _IDS.values() for spdx in ids.split()}

_LINKING_EXCEPTIONS = frozenset(
    {
        "autoconf-exception-2.0",
        "autoconf-exception-3.0",
        "bison-exception-2.2",
        "bootloader-exception",
        "classpath-exception-2.0",
        "ecos-exception-2.0",
        "fltk-exception",
        "font-exception-2.0",
        "gcc-exception-2.0",
        "gcc-exception-3.1",
        "gnu-compiler-exception",
        "lgpl-3.0-linking-exception",
        "libtool-exception",
        "linux-syscall-note",
        "lzma-exception",
        "openjdk-assembly-exception-1.0",
        "qt-lgpl-exception-1.1",
        "swi-exception",
        "u-boot-exception-2.0",
        "universal-foss-exception-1.0",
        "wxwindows-exception-3.1",
    }
)
"""Exceptions that let other software be linked or built with a strongly copylefted one: it is then a weak one."""

_TOKEN = re.compile(r"\s*(\(|\)|[A-Za-z0-9][A-Za-z0-9.:-]*\+?)")
_SUFFIX = re.compile(r"(-only|-or-later|\+)$", re.IGNORECASE)


class NotAnExpression(ValueError):
    """The text does not follow the grammar; `column` counts from 1."""

    def __init__(self, text: str, column: int, expected: str) -> None:
        super().__init__(f"{text!r}: {expected} expected at column {column}")
        self.column = column


@dataclass(frozen=True)
class Licence:
    id: str
    exception: str | None = None


@dataclass(frozen=True)
class Compound:
    """`operator` is AND or OR; `parts` are two or more."""

    operator: str
    parts: tuple[Expression, ...]


Expression = Licence | Compound


def parse(text: str) -> Expression:
    """The expression's tree; WITH binds tighter than AND, AND tighter than OR. Raises NotAnExpression."""
    return _Parser(text).whole()


def family(expression: Expression) -> str:
    """One of FAMILIES."""
    if isinstance(expression, Compound):
        ranks = [FAMILIES.index(family(part)) for part in expression.parts]
        return FAMILIES[min(ranks) if expression.operator == "OR" else max(ranks)]
    found = _FAMILY_OF.get(expression.id.lower()) or _FAMILY_OF.get(_SUFFIX.sub("", expression.id).lower())
    if found is None:
        return "proprietary" if re.match(r"licenseref-.*proprietary", expression.id, re.IGNORECASE) else "unknown"
    linkable = (expression.exception or "").lower() in _LINKING_EXCEPTIONS
    return "weak copyleft" if found == "strong copyleft" and linkable else found


def licence_ids(expression: Expression) -> list[str]:
    """Every licence id in it, in order, without doubles."""
    if isinstance(expression, Licence):
        return [expression.id]
    return list(dict.fromkeys(found for part in expression.parts for found in licence_ids(part)))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, int]] = []
        end = 0
        stripped = text.rstrip()
        while end < len(stripped):
            match = _TOKEN.match(stripped, end)
            if match is None:
                raise NotAnExpression(text, end + 1, "a licence id, an operator or a parenthesis")
            self._tokens.append((match[1], match.start(1) + 1))
            end = match.end()
        self._next = 0

    def whole(self) -> Expression:
        expression = self._joined("OR")
        if self._next < len(self._tokens):
            raise self._error("AND, OR, WITH or the end")
        return expression

    def _joined(self, operator: str) -> Expression:
        parts = [self._operand(operator)]
        while self._word() == operator:
            self._next += 1
            parts.append(self._operand(operator))
        return parts[0] if len(parts) == 1 else Compound(operator, tuple(parts))

    def _operand(self, operator: str) -> Expression:
        return self._joined("AND") if operator == "OR" else self._simple()

    def _simple(self) -> Expression:
        word = self._word()
        if word == "(":
            self._next += 1
            expression = self._joined("OR")
            if self._word() != ")":
                raise self._error("a closing parenthesis")
            self._next += 1
            return expression
        name = self._name("a licence id")
        if self._word() == "WITH":
            self._next += 1
            return Licence(name, self._name("an exception id"))
        return Licence(name)

    def _name(self, expected: str) -> str:
        if self._word() in {None, "(", ")", "AND", "OR", "WITH"}:
            raise self._error(expected)
        name = self._tokens[self._next][0]
        self._next += 1
        return _NAME_OF.get(name.lower(), name)

    def _word(self) -> str | None:
        """The next token; operators in capitals however they were written."""
        if self._next == len(self._tokens):
            return None
        token = self._tokens[self._next][0]
        return token.upper() if token.upper() in {"AND", "OR", "WITH"} else token

    def _error(self, expected: str) -> NotAnExpression:
        column = self._tokens[self._next][1] if self._next < len(self._tokens) else len(self._text.rstrip()) + 1
        return NotAnExpression(self._text, column, expected)

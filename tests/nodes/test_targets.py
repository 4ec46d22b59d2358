"""Python targets are looked for on disk: what is missing is named, and nothing is ever imported."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.nodes.modules import load_function
from perdure.nodes.targets import doubt

EXPLODES = "raise SystemExit('this module was run')\n"
MODULE = (
    EXPLODES
    + """
import os as operating, collections.abc
from json import dumps as as_text
try:
    from fast import quick
except ImportError:
    quick = None
if operating.name:
    def chosen(): ...
for looped in (): pass
with open("x") as opened: pass
typed: int = 3
first, (second, *rest) = 1, (2, 3)
def plain():
    global made
    made = 1
    hidden = 2
async def later(): ...
class Report:
    def build(self): ...
    class Inner:
        @staticmethod
        def run(): ...
class Derived(Report): ...
@decorated
class Decorated: ...
"""
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "texts.py").write_text(MODULE)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "operating", "collections", "as_text", "quick", "chosen", "looped", "opened", "typed", "first", "second", "rest",
        "plain", "made", "later", "Report", "Report.build", "Report.Inner.run", "Derived.anything", "Decorated.anything",
        "plain.attribute",
    ],
)  # fmt: skip
def test_whatever_a_module_binds_is_there(folder: Path, path: str) -> None:
    assert doubt(f"texts:{path}", [str(folder)]) is None


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("plan", "did you mean 'plain'?"),
        ("hidden", "has no 'hidden'"),
        ("Report.built", "did you mean 'build'?"),
        ("Report.Inner.walk", "has no 'Report.Inner.walk'"),
    ],
)
def test_what_it_does_not_bind_is_told(folder: Path, path: str, told: str) -> None:
    found = doubt(f"texts:{path}", [str(folder)])
    assert found is not None
    assert told in found
    assert str(folder / "texts.py") in found


@pytest.mark.parametrize(
    "more",
    [
        "from os.path import *",
        "def __getattr__(name): ...",
        "globals()['x'] = 1",
        "def fill():\n    import sys\n    setattr(sys.modules[__name__], 'x', 1)",
        "exec('x = 1')",
    ],
)
def test_a_module_that_may_hold_more_than_it_shows_is_not_doubted(tmp_path: Path, more: str) -> None:
    (tmp_path / "dynamic.py").write_text(f"{EXPLODES}{more}\n")
    assert doubt("dynamic:anything", [str(tmp_path)]) is None


def test_packages_are_searched_without_importing_what_is_around_them(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "middle"
    inner.mkdir(parents=True)
    (tmp_path / "outer" / "__init__.py").write_text(EXPLODES)
    (inner / "leaf.py").write_text(EXPLODES + "def run(): ...\n")
    folders = [str(tmp_path)]
    assert doubt("outer.middle.leaf:run", folders) is None
    assert doubt("outer.middle.leaves:run", folders) == (
        f"there is no module 'outer.middle.leaves' in the flow folders ({tmp_path}), nor in the environment"
    )
    assert doubt("outer.middle:run", folders) == "'outer.middle' is a folder without __init__.py, so it has no 'run'"
    assert doubt("outer.middle.leaf.more:run", folders) == (
        "'outer.middle.leaf' is no package, so there is no module 'outer.middle.leaf.more'"
    )
    assert not {"outer", "outer.middle", "outer.middle.leaf"} & sys.modules.keys()


def test_a_package_that_extends_its_own_path_is_not_doubted(tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "__init__.py").write_text("__path__ += ['/elsewhere']\n")
    assert doubt("wide.module:run", [str(tmp_path)]) is None


def test_one_package_of_folders_may_lie_in_several_places(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "shared").mkdir(parents=True)
        (tmp_path / name / "shared" / f"{name}.py").write_text("def run(): ...\n")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert doubt("shared.a:run", folders) is None
    assert doubt("shared.b:run", folders) is None
    assert doubt("shared.c:run", folders) is not None


@pytest.mark.parametrize("target", ["json:dumps", "os.path:join", "perdure.base.codec:decode", "math:sqrt", "sys:exit"])
def test_the_environment_is_searched_after_the_folders(target: str) -> None:
    assert doubt(target, []) is None


def test_what_is_in_the_environment_but_lacks_the_function_is_told() -> None:
    assert "did you mean 'decode'" in (doubt("perdure.base.codec:decoded_", []) or "")


def test_a_module_that_does_not_parse_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def run():\n    return (\n")
    assert "is no Python: line 2" in (doubt("broken:run", [str(tmp_path)]) or "")


def test_a_file_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    assert doubt("late:run", [str(tmp_path)]) is not None
    path.write_text("def walk(): ...\n")
    assert "has no 'run'" in (doubt("late:run", [str(tmp_path)]) or "")
    path.write_text("def run(): ...  # now\n")
    assert doubt("late:run", [str(tmp_path)]) is None


@pytest.mark.parametrize("source", ["(" * 100_000, "-" * 200_000 + "1", "x = 1\0", "x" * 2_000_000, "\udcff"])
def test_a_hostile_module_is_survived(tmp_path: Path, source: str) -> None:
    (tmp_path / "hostile.py").write_bytes(source.encode("utf-8", "surrogateescape"))
    began = time.monotonic()
    doubt("hostile:run", [str(tmp_path)])
    assert time.monotonic() - began < 5


BINDINGS = ["def {0}(): ...", "async def {0}(): ...", "{0} = len", "class {0}:\n    pass", "from json import dumps as {0}",
            "if True:\n    {0} = len\nelse:\n    {0} = max", "try:\n    import none_such as {0}\nexcept ImportError:\n    {0} = len"]  # fmt: skip


@given(names=st.lists(st.sampled_from("abcdef"), min_size=1, unique=True), forms=st.lists(st.sampled_from(BINDINGS)))
def test_what_can_be_loaded_is_never_doubted_and_the_other_way_round(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], forms: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("modules")
    module = folder.name.replace("-", "_")
    bound = names[: len(forms)]
    (folder / f"{module}.py").write_text("\n".join(form.format(name) for form, name in zip(forms, names, strict=False)))
    sys.path.insert(0, str(folder))
    try:
        for name in "abcdef":
            found = doubt(f"{module}:{name}", [str(folder)])
            assert (found is None) == (name in bound)
            if name in bound:
                assert callable(load_function(f"{module}:{name}"))
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(module, None)

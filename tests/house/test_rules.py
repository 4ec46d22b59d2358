"""Each rule finds what it is there for, and lets pass what it should."""

import pytest

from tests.house.rules import FILE_LINES, FUNCTION_LINES, RULES, Source, dead_file

OWNER = "src/perdure/engine/owner.py"
UNFINISHED_WORD = "TO" + "DO"
BODY = "    x = 1\n"


def source(text: str, path: str = OWNER) -> Source:
    return Source(path, text)


BAD = [
    ("banned_name", source("", "src/perdure/engine/utils.py"), 1),
    ("banned_name", source("", "src/perdure/helpers/row.py"), 1),
    ("banned_name", source("", "tests/engine/time_utils.py"), 1),
    ("import_in_function", source("def f():\n    from perdure.base import clock\n"), 2),
    ("import_in_function", source("async def f():\n    if x:\n        import perdure.errors\n"), 3),
    ("long_file", source("x = 1\n" * (FILE_LINES + 1)), FILE_LINES),
    ("long_file", source("SELECT 1;\n" * (FILE_LINES + 1), "src/perdure/store/queries/q.sql"), FILE_LINES),
    ("long_function", source("\ndef f():\n" + BODY * FUNCTION_LINES), 2),
    ("long_function", source("class A:\n async def f():\n" + BODY * FUNCTION_LINES), 2),
    ("machine_path", source("x = 1\nhome = '/home" + "/ann/perdure'\n"), 2),
    ("machine_path", source("see /root" + "/notes", "docs/x.md"), 1),
    ("sql_outside_store", source("x = 'SELECT id FROM executions'\n"), 1),
    ("sql_outside_store", source("x = f'''\n  UPDATE queue SET {y} = 1'''\n"), 1),
    ("sql_outside_store", source("run('PRAGMA user_version')\n"), 1),
    ("status_literal", source("if x:\n    status = 'timed_out'\n"), 2),
    ("unfinished", source(f"x = 1  # {UNFINISHED_WORD} later\n"), 1),
    ("unfinished", source(f"\n{UNFINISHED_WORD}: write this\n", "docs/x.md"), 2),
]

GOOD = [
    ("banned_name", source("", "src/perdure/engine/commons.py")),
    ("banned_name", source("", "docs/common.md")),
    ("import_in_function", source("from perdure.base import clock\ndef f():\n    import opentelemetry\n")),
    ("long_file", source("x = 1\n" * FILE_LINES)),
    ("long_file", source("word\n" * (FILE_LINES + 1), "docs/x.md")),
    ("long_function", source("def f():\n" + BODY * (FUNCTION_LINES - 1))),
    ("machine_path", source("url = 'https://example.org/home/ann'\nroute = '/executions/{id}/root" + "/x'\n")),
    ("sql_outside_store", source("x = 'SELECT id FROM executions'\n", "src/perdure/store/sqlite/rows.py")),
    ("sql_outside_store", source("x = 'Select a flow from the list'\n")),
    ("sql_outside_store", source("x = 'SELECT id FROM executions'\n", "tests/store/test_rows.py")),
    ("status_literal", source("STATUS = 'timed_out'\n", "src/perdure/model/states.py")),
    ("status_literal", source('"""timed_out"""\nevent = "execution.timed_out"\n')),
    ("unfinished", source("todo_list = 1\n")),
]


@pytest.mark.parametrize(("rule", "sample", "line"), BAD)
def test_a_rule_finds_the_fault_and_its_line(rule: str, sample: Source, line: int) -> None:
    assert [(finding.path, finding.line) for finding in RULES[rule](sample)] == [(sample.path, line)]


@pytest.mark.parametrize(("rule", "sample"), GOOD)
def test_a_rule_lets_the_rest_pass(rule: str, sample: Source) -> None:
    assert list(RULES[rule](sample)) == []


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _, _ in BAD} == RULES.keys()


def test_a_file_that_nothing_imports_is_dead() -> None:
    dead = source("import perdure.engine.lease\n", "src/perdure/engine/lease.py")
    assert [finding.path for finding in dead_file([dead, source("", "src/perdure/engine/__init__.py")], ())] == [
        dead.path
    ]


def test_a_file_that_only_a_test_imports_is_dead() -> None:
    sample = [source("x = 1\n"), source("from perdure.engine import owner\n", "tests/engine/test_owner.py")]
    assert [finding.path for finding in dead_file(sample, ())] == [OWNER]


@pytest.mark.parametrize(
    "user",
    [
        "from perdure.engine import owner",
        "from perdure.engine.owner import Owner",
        "import perdure.engine.owner",
        "LAZY = {'owner': 'perdure.engine.owner:main'}",
    ],
)
def test_a_file_that_is_imported_or_named_lives(user: str) -> None:
    assert not list(dead_file([source("x = 1\n"), source(user, "src/perdure/__init__.py")], ()))


def test_a_file_that_is_listed_lives() -> None:
    assert not list(dead_file([source("x = 1\n")], {"perdure.engine.owner"}))

"""Examples are taken out of a page as a reader would read them."""

import pytest

from tests.docs.pages import agrees, blocks, settled, steps

PAGE = """
# Title

```yaml hello.yaml
id: hello
```

Some text.

```console
$ echo one \\
> two
one two
$ cat <<'EOF'
three
EOF
three
```
"""


def test_blocks_have_language_arguments_and_place() -> None:
    found = blocks(PAGE)
    assert [(block.language, block.arguments, block.line) for block in found] == [
        ("yaml", ("hello.yaml",), 4),
        ("console", (), 10),
    ]
    assert found[0].body == "id: hello\n"


def test_a_session_is_commands_and_what_they_print() -> None:
    found = steps(blocks(PAGE)[1])
    assert [(step.command, step.shown) for step in found] == [
        ("echo one \\\ntwo", ("one two",)),
        ("cat <<'EOF'\nthree\nEOF", ("three",)),
    ]


def test_what_changes_from_run_to_run_is_settled() -> None:
    assert settled("01936b1e-5f3a-7c2d-9b1a-0c6a8f3e2d71  took 3m12s at 14:03:11.482") == "<id> took <span> at <clock>"
    assert settled("http://127.0.0.1:8000/docs") == "<server>/docs"


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
        (["a…c"], ["abbc"], True),
        (["…"], [], True),
        (["a", "…", "d"], ["a", "b", "c", "d"], True),
        (["a", "…", "d"], ["a", "b", "c"], False),
    ],
)
def test_output_agrees_line_by_line(shown: list[str], printed: list[str], expected: bool) -> None:
    assert agrees(tuple(shown), printed) is expected

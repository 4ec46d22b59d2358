"""Write `perdure/client/blocking*.py`: the sync resources, from the signatures of the async ones.

`python scripts/generate_sync_client.py` writes them; `--check` only says whether they are up to date.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "src" / "perdure" / "client"
TARGETS = {
    CLIENT / "blocking.py": ("execution", "executions", "flows", "artifacts", "tokens", "waits", "system"),
    CLIENT / "blocking_operations.py": ("operations",),
}
"""Files to write, each with the modules whose classes it takes."""
HEAD = '''"""The sync resources. Made by `scripts/generate_sync_client.py` from the async ones; change those."""

from __future__ import annotations

from collections.abc import Iterator
'''
WRAPPED = "AsyncExecutionHandle"


def generated(target: Path) -> str:
    """The module's text, formatted."""
    trees = {name: ast.parse((CLIENT / f"{name}.py").read_text(encoding="utf-8")) for name in TARGETS[target]}
    classes = [(name, node) for name, tree in trees.items() for node in tree.body if isinstance(node, ast.ClassDef)]
    body = "\n\n".join(_sync_class(node) for _, node in classes)
    imports = [f"from perdure.client.{name} import {node.name}" for name, node in classes]
    imports.append("from perdure.client.portal import Portal")
    imports += [ast.unparse(node) for tree in trees.values() for node in _annotation_imports(tree)]
    text = "\n".join([HEAD, *imports, "", body])
    return _ruff("format", _ruff("check", text, target), target)


def _annotation_imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    """What the signatures may need; ruff drops what they do not."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module not in {None, "__future__"}:
            yield node


def _sync_class(source: ast.ClassDef) -> str:
    lines = [f"class {_sync_name(source.name)}:", f'    """{ast.get_docstring(source, clean=False)}"""', ""]
    lines += [f"    def __init__(self, portal: Portal, source: {source.name}) -> None:"]
    lines += ["        self._portal = portal", "        self._source = source", ""]
    for node in source.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            lines += [*_sync_method(node), ""]
    return "\n".join(lines)


def _sync_method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    answer = ast.unparse(node.returns) if node.returns else "None"
    doc = f'        """{ast.get_docstring(node, clean=False)}"""'
    if isinstance(node, ast.FunctionDef):
        return [
            "    @property",
            f"    def {node.name}(self) -> {answer}:",
            doc,
            f"        return self._source.{node.name}",
        ]
    parameters = ast.unparse(node.args)
    given = [arg.arg for arg in node.args.args[1:]] + [f"{arg.arg}={arg.arg}" for arg in node.args.kwonlyargs]
    given += [f"**{node.args.kwarg.arg}"] if node.args.kwarg else []
    call = f"self._source.{node.name}({', '.join(given)})"
    if answer.startswith("AsyncIterator["):
        head = f"    def {node.name}({parameters}) -> {answer.removeprefix('Async')}:"
        return [head, doc, f"        return self._portal.iterate({call})"]
    value = f"self._portal.call({call})"
    if answer == WRAPPED:
        value = f"{_sync_name(WRAPPED)}(self._portal, {value})"
    statement = f"        {value}" if answer == "None" else f"        return {value}"
    return [f"    def {node.name}({parameters}) -> {_sync_name(answer)}:", doc, statement]


def _sync_name(name: str) -> str:
    return name.removeprefix("Async")


def _ruff(command: str, text: str, target: Path) -> str:
    options = ["--fix", "--fix-only", "--quiet"] if command == "check" else []
    done = subprocess.run(
        [sys.executable, "-m", "ruff", command, *options, "--stdin-filename", str(target), "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout


def main() -> int:
    texts = {target: generated(target) for target in TARGETS}
    if "--check" in sys.argv[1:]:
        return int(any(not path.exists() or path.read_text(encoding="utf-8") != text for path, text in texts.items()))
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

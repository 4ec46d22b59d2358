"""Folders of flows: what is in them, what changed, and what is broken."""

from __future__ import annotations

import asyncio
import os

import pytest

from perdure.flows.folder import FlowFolder
from tests.flows.kinds import KINDS

GOOD = "id: a/one\nnodes:\n  n: {transform: 1}\n"
OTHER = "id: a/two\nnodes:\n  n: {transform: 2}\n"


@pytest.fixture
def folder(tmp_path):
    return FlowFolder(tmp_path, node_types=KINDS)


def names(files):
    return [os.path.basename(file.path) for file in files]


def test_its_files_are_found_and_compiled(folder, tmp_path):
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "one.yaml").write_text(GOOD)
    (tmp_path / "sub" / "deep" / "two.yml").write_text(OTHER)
    (tmp_path / "three.json").write_text('{"id": "three", "nodes": {"n": {"transform": 3}}}')
    flows = {file.program.flow.id for file in folder.scan() if file.program}
    assert flows == {"a/one", "a/two", "default/three"}


def test_what_is_no_flow_is_left_out(folder, tmp_path):
    for hidden in (".git", "__pycache__"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "x.yaml").write_text(GOOD)
    (tmp_path / ".hidden.yaml").write_text(GOOD)
    (tmp_path / "flow.txt").write_text(GOOD)
    (tmp_path / "settings.yaml").write_text("id: 3\nservices:\n  nodes: 2\n")
    (tmp_path / "package.json").write_text('{"id": "x"}')
    (tmp_path / "text.py").write_text("def f(): pass")
    assert folder.scan() == []


def test_a_missing_folder_is_empty(tmp_path):
    assert FlowFolder(tmp_path / "none", node_types=KINDS).scan() == []


def test_a_broken_file_is_reported_with_path_line_and_column(folder, tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("id: a/one\nnodes:\n  n: {transfrom: 1}\n")
    (file,) = folder.scan()
    assert file.program is None
    assert file.report()[0].startswith(
        f"{path}:3:7: 'transfrom' is no field and no type of a node; did you mean 'transform'?"
    )
    path.write_text("nodes: [")
    assert folder.scan()[0].report() == [f"{path}:2:1: while parsing a flow node: did not find expected node content"]


def test_what_was_a_flow_stays_one_while_it_is_broken(folder, tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text(GOOD)
    folder.scan()
    for broken in ("", "id: a/one\nnode:\n  n: {transform: 1}\n"):
        path.write_text(broken)
        changes = folder.changes()
        assert changes.removed == ()
        assert [bool(file.problems) for file in changes.changed] == [True]
    path.unlink()
    assert folder.changes().removed == (str(path),)


def test_changes_tell_only_what_is_different(folder, tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(GOOD)
    first = folder.scan()
    assert not folder.changes()
    two.write_text(OTHER)
    assert names(folder.changes().changed) == ["two.yaml"]
    os.utime(one)
    one.write_text(GOOD)
    assert not folder.changes()
    one.write_text(GOOD + "# a remark\n")
    (changed,) = folder.changes().changed
    assert changed.program is not None
    assert first[0].program is not None
    assert changed.program.content_hash == first[0].program.content_hash
    one.unlink()
    changes = folder.changes()
    assert (changes.changed, changes.removed) == ((), (str(one),))


def test_two_files_with_one_id_name_each_other(folder, tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(GOOD)
    assert folder.scan()[0].program is not None
    two.write_text(GOOD)
    changed = folder.changes().changed
    assert [file.problems[0].code for file in changed] == ["duplicate_flow"] * 2
    assert str(two) in changed[0].problems[0].detail
    assert str(one) in changed[1].problems[0].detail
    two.unlink()
    (healed,) = folder.changes().changed
    assert healed.path == str(one)
    assert healed.program is not None


def test_a_file_that_cannot_be_read_is_reported(folder, tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "dead.yaml").symlink_to(tmp_path / "loop.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "dead.yaml")
    assert {file.problems[0].code for file in folder.scan()} == {"unreadable"}


async def test_changes_are_watched(folder, tmp_path):
    stop = asyncio.Event()
    (tmp_path / "one.yaml").write_text(GOOD)
    seen = []
    async with asyncio.timeout(30):
        async for changes in folder.watch(stop):
            seen.append((names(changes.changed), [os.path.basename(path) for path in changes.removed]))
            if len(seen) == 1:
                (tmp_path / "sub").mkdir()
                (tmp_path / "sub" / "two.yaml").write_text(OTHER)
            elif len(seen) == 2:
                (tmp_path / "one.yaml").unlink()
            else:
                stop.set()
    assert seen == [(["one.yaml"], []), (["two.yaml"], []), ([], ["one.yaml"])]

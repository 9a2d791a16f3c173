"""Broken pipeline files (``broken/*.yaml``) and all that their author is told (``*.txt``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.pipeline.reader import read_all, read_file

FOLDER = Path(__file__).with_name("broken")
FILES = sorted(FOLDER.glob("*.yaml"))


def told(path: Path) -> str:
    """What the author reads: a section for the file, or for each broken stream."""
    return "".join(f"[{name}]\n{error}\n" for name, error in read_file(path).broken.items())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_stranger_is_told_what_to_mend(path: Path) -> None:
    assert told(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_message_repeats_a_secret_or_speaks_of_our_tools(path: Path) -> None:
    text = told(path).lower()
    for word in ("hunter2", "pydantic", "validation", "input should", "https://", "instance of"):
        assert word not in text


def test_more_than_ten_kinds_of_broken_files_are_read_together() -> None:
    found = read_all(FOLDER)
    assert len(found) == len(FILES) > 10
    assert all(file.broken and not file.streams for file in found)

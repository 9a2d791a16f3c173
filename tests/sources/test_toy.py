"""One file makes a kind of source: in pipeline files, schema, documentation and contract suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIPELINE = """
connection: archive
defaults: {schedule: 5m}
streams:
  entries:
    journal: entries.journal
    primary_key: id
    columns: {id: int64, name: {type: string, path: person.name}}
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which the package that consists of ``toy.py`` is installed."""
    site = tmp_path / "site"
    info = site / "tidegate_journal-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tidegate-journal\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tidegate.sources]\njournal = tidegate_journal\n")
    (site / "tidegate_journal.py").write_bytes(Path(__file__).with_name("toy.py").read_bytes())
    folders = [site, ROOT / "include", ROOT / "tests"]
    ours = {"TIDEGATE_HOME": str(tmp_path / "home"), "TIDEGATE_TURN": ""}
    return {**os.environ, **ours, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def ran(environment: dict[str, str], *command: str) -> str:
    """What a Python process prints; a failure is this test's."""
    found = subprocess.run(
        [sys.executable, *command], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout


def test_pipeline_files_and_their_schema_know_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "archive.yaml").write_text(PIPELINE)
    said = ran(environment, "-m", "tidegate.cli", "--pipelines", str(folder), "check", "--json")
    assert json.loads(said) == [
        {"stream": "archive.entries", "level": "ok", "message": "the file is right"}
    ]
    schema = json.loads(ran(environment, "-m", "tidegate.cli", "schema"))
    assert "journal" in schema["$defs"]["JournalStream"]["properties"]
    (one,) = schema["properties"]["streams"]["patternProperties"].values()
    assert {"$ref": "#/$defs/JournalStream"} in one["anyOf"]


def test_the_documentation_knows_its_options(environment: dict[str, str]) -> None:
    said = ran(environment, "-c", _OPTIONS)
    assert "| `journal` | the file's name, in the connection's folder | text | required |" in said
    assert "| `columns` | the columns: name: type" in said


_OPTIONS = """
from sources.contract import docs
from sources.contract.peers import PEERS
from tidegate.pipeline.kinds import kinds
print(docs.options(kinds()["journal"]))
print(docs.table([peer for peer in PEERS if peer.kind == "journal"]))
"""


def test_it_gives_what_the_contract_asks(environment: dict[str, str], tmp_path: Path) -> None:
    suite = "tests/sources/contract/test_contract.py"
    said = ran(
        environment, "-m", "pytest", "-q", "-n0", f"--basetemp={tmp_path / 'suite'}", suite,
        "-k", "JournalPeer",
    )  # fmt: skip
    assert "16 passed" in said
    assert "skipped" not in said

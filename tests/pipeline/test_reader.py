"""Files and folders of files: what is good in them is found, whatever is beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.examples import SHOP
from tidegate.errors import ConfigError
from tidegate.fields import Span, did_you_mean
from tidegate.pipeline import document
from tidegate.pipeline.meaning import End, Load
from tidegate.pipeline.mistakes import LISTED
from tidegate.pipeline.models import Expectation
from tidegate.pipeline.reader import PipelineFile, read_all, read_file
from tidegate.sources.sql.options import SqlStream


def written(folder: Path, text: str, name: str = "shop.yaml") -> PipelineFile:
    (folder / name).write_text(text, encoding="utf-8")
    return read_file(folder / name)


def test_a_file_becomes_a_source_and_its_streams(tmp_path: Path) -> None:
    found = written(tmp_path, SHOP)
    assert found.broken == {}
    assert found.source is not None
    assert (found.name, found.source.name, found.source.connection) == ("shop", "shop", "shop_db")
    assert list(found.streams) == list(found.source.streams) == ["customers", "order_lines"]
    lines = found.streams["order_lines"]
    assert lines.primary_key == ("order_id", "line")
    assert lines.backfill.since == "2010-12-01"
    assert lines.deleted is not None
    assert lines.deleted.values == ("gone", 9, True)
    assert lines.expect[1] == Expectation(
        name="expect_column_values_to_be_in_set",
        arguments={"column": "state", "value_set": ["new", "cancelled"]},
    )
    assert lines.load.end(lines.load.relations[0].to) == End(type="Product", key=("product_id",))
    json.dumps(lines.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("defaults", "stream", "watched"),
    [
        ("", "", True),
        ("schedule: 30s", "", False),
        ("", "schedule: 30s", False),
        ("schedule: 30s", "watch: true", True),
        ("schedule: 30s, watch: true", "", True),
        ("watch: true", "watch: false", False),
        ("watch: false", "", False),
        ("watch: true", "unindexed: allow", False),
        ("schedule: 10s to 10m", "", False),
        ("schedule: 10s to 10m, watch: true", "", True),
    ],
)
def test_a_stream_is_watched_unless_its_schedule_says_when_to_read(
    tmp_path: Path, defaults: str, stream: str, watched: bool
) -> None:
    found = written(
        tmp_path,
        f"connection: shop_db\ndefaults: {{{defaults}}}\n"
        f"streams:\n  orders: {{table: orders, primary_key: id, cursor: at, {stream}}}\n",
    )
    assert found.broken == {}
    assert found.streams["orders"].watched is watched
    paced = " to " in defaults and not watched
    assert found.streams["orders"].pace == (Span(10, 600) if paced else None)


def test_defaults_hold_for_every_stream_and_a_stream_replaces_them(tmp_path: Path) -> None:
    streams = written(tmp_path, SHOP).streams
    customers, lines = streams["customers"], streams["order_lines"]
    assert isinstance(customers, SqlStream)
    assert isinstance(lines, SqlStream)
    assert (customers.schedule, customers.lookback, customers.tags) == ("30s", "2m", ("shop",))
    assert (lines.schedule, lines.lookback, lines.tags) == ("*/5 * * * *", 1000, ("shop", "sales"))
    assert customers.stop_above == lines.stop_above == "5%"


def test_a_broken_stream_leaves_the_others_alone(tmp_path: Path) -> None:
    text = SHOP.replace("    cursor: updated_at\n", "    cursor: [updated_at]\n    <<: {a: 1}\n")
    found = written(tmp_path, text)
    assert list(found.streams) == ["order_lines"]
    assert found.source is not None
    assert list(found.source.streams) == ["order_lines"]
    assert str(found.broken["customers"]) == (
        "shop.yaml:15: streams.customers.cursor: must be text, not a list. "
        "For example: updated_at.\n"
        "shop.yaml:16: streams.customers['<<']: merge keys (<<) are not used here. "
        "Share settings by 'defaults:'."
    )


def test_a_broken_file_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("connection: [\n")
    (tmp_path / "b.yaml").write_text(SHOP, encoding="utf-8")
    (tmp_path / "c.yml").write_text(SHOP, encoding="utf-8")
    (tmp_path / "d.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "e.yaml").mkdir()
    os.mkfifo(tmp_path / "f.yaml")
    (tmp_path / ".#b.yaml").write_text("an editor's own file")
    (tmp_path / "schema.json").write_text("{}")
    found = {file.name: file for file in read_all(tmp_path)}
    assert list(found) == ["a", "b", "c.yml", "d", "f"]
    assert list(found["b"].streams) == ["customers", "order_lines"]
    for name in ("a", "c.yml", "d", "f"):
        assert found[name].source is None
        assert list(found[name].broken) == [name]
    assert str(found["c.yml"].broken["c.yml"]) == ("c.yml: pipeline files end in .yaml. Rename it.")
    assert "no such file or directory" in str(found["d"].broken["d"])
    assert "not a regular file" in str(found["f"].broken["f"])


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read .* or set TIDEGATE_PIPELINES"):
        read_all(tmp_path / "pipelines")


def test_mistakes_outside_of_any_stream_are_not_lost(tmp_path: Path) -> None:
    text = "connection: db\nstreams:\n  <<: {a: 1}\n  a: {table: a, primary_key: i, cursor: i}\n"
    found = written(tmp_path, text)
    assert str(found.broken["shop"]) == (
        "shop.yaml:3: streams['<<']: merge keys (<<) are not used here. "
        "Share settings by 'defaults:'."
    )


def test_a_thousand_mistakes_make_a_short_message_soon(tmp_path: Path) -> None:
    keys = "".join(f"    no_such_key_{number}: 1\n" for number in range(9000))
    started = time.process_time()
    found = written(tmp_path, "connection: db\nstreams:\n  orders:\n" + keys)
    assert time.process_time() - started < 3
    assert len(str(found.broken["orders"]).split("\n")) <= LISTED + 1


@pytest.mark.parametrize(
    "table", ["orders", "shop.orders", "Order Details", "größe", "a-b.c$d", "x" * 64]
)
def test_tables_are_called_as_the_source_calls_them(table: str, tmp_path: Path) -> None:
    found = written(tmp_path, SHOP.replace("table: customers", f"table: {json.dumps(table)}"))
    assert found.streams["customers"].what == f"table {table}"


@pytest.mark.parametrize(
    "table", ["", ".", "a.", ".a", "a.b.c", " a", "a ", "a\0b", "a\nb", "a`b", 'a"b', "a'b",
              "a;b", "x" * 65, "x." + "y" * 65, "a\u200bb", "a\u2028b"],
)  # fmt: skip
def test_tables_that_could_not_be_quoted_are_refused(table: str, tmp_path: Path) -> None:
    found = written(tmp_path, SHOP.replace("table: customers", f"table: {json.dumps(table)}"))
    assert list(found.streams) == ["order_lines"]
    assert "streams.customers.table: " in str(found.broken["customers"])


def test_columns_may_be_called_like_secrets(tmp_path: Path) -> None:
    text = SHOP.replace("note: string", "api_token: string, password: string, uri: string")
    assert written(tmp_path, text).broken == {}


def test_relations_are_checked_wherever_they_are_made() -> None:
    with pytest.raises(ValueError, match="'B' is not an entity type of this stream"):
        Load.model_validate({"relations": [{"type": "r", "from": "B", "to": "B"}]})


def test_expectations_are_checked_wherever_they_are_made() -> None:
    with pytest.raises(ValueError, match="Did you mean 'expect_column_to_exist'"):
        Expectation(name="expect_column_to_exists", arguments={"column": "a"})


@pytest.mark.parametrize(
    ("word", "guess"), [("curser", "cursor"), ("CURSOR", "cursor"), ("zzz", None), ("", None)]
)
def test_only_near_words_are_proposed(word: str, guess: str | None) -> None:
    assert did_you_mean(word, ["cursor", "table"]) == (f" Did you mean {guess!r}?" if guess else "")


@pytest.mark.parametrize(
    "text",
    ["0.5s", "99999999d", "1e5s", "٣s", "30", "-1m", "1h30m", "", "10m to 10s", "10s to 10s",
     "0.5s to 9s", "10s to", "1s to 2s to 3s", "* * * * * to 1m"],
)  # fmt: skip
def test_schedules_that_no_clock_can_keep_are_refused(text: str, tmp_path: Path) -> None:
    found = written(tmp_path, SHOP.replace("schedule: 30s", f"schedule: {json.dumps(text)}"))
    assert "defaults.schedule: " in str(found.broken["shop"])


# Any change of any file: a message or models, nothing else.

_WORDS = st.sampled_from(
    ["null", "true", "no", "010", "12:30:45", "[]", "{}", "- a", "&a", "*a", "<<: *a", "!!str ",
     "!!python/object:os.system ", "'", '"', "|", "\t", "\n", "---\n", "a://b:c@d", "\\ud800",
     "99999999999999999999", "1.5", "trim", "expect_column_to_exist", "clean:", "streams:", "\0",
     "\u2028", "é", "%", "@", "'\\'", "? ", ": ", "# ", "{a: b}", "[[[[[[[["]
)  # fmt: skip
_EDITS = st.lists(
    st.tuples(st.integers(0, len(SHOP)), st.integers(0, 12), _WORDS | st.text(max_size=5)),
    min_size=1,
    max_size=6,
)


def _is_told_well(found: PipelineFile) -> None:
    assert found.source is not None or (found.broken and not found.streams)
    for error in found.broken.values():
        assert isinstance(error, ConfigError)
        for line in str(error).split("\n"):
            assert re.match(r"shop\.yaml(:\d+)?: .|… and \d+ more\.", line), line


@given(_EDITS)
@settings(max_examples=400, deadline=None)
def test_a_mutilated_file_is_read_or_explained(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]
) -> None:
    text = SHOP
    for start, length, word in edits:
        text = text[:start] + word + text[start + length :]
    path = tmp_path_factory.getbasetemp() / "shop.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    _is_told_well(read_file(path))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_explained(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "shop.yaml"
    path.write_bytes(data)
    _is_told_well(read_file(path))


_PLAIN = st.characters(exclude_categories=["C"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_PLAIN, max_size=8) | st.sampled_from(["id", "1m", "5%", "UTC", "int64"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["trim", "type", "key", "from", "columns", "name", "arguments", "values",
                         "expect_column_values_to_be_in_set", "column", "value_set", "rename",
                         "entities", "relations", "fill_missing", "lookup", "mapping"])
        | st.text(_PLAIN, max_size=6), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
_STREAM_KEYS = st.sampled_from(
    ["table", "primary_key", "cursor", "types", "deleted", "backfill", "clean", "expect", "load",
     "schedule", "lookback", "stop_above", "tags", "description", "owner", "time_zone", "retries"]
)  # fmt: skip


@given(st.dictionaries(_STREAM_KEYS, _VALUES, max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_value_at_any_key_is_read_or_explained(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    stream = {"table": "t", "primary_key": "id", "cursor": "id", **values}
    text = json.dumps({"connection": "db", "streams": {"a": stream}}, ensure_ascii=False)
    path = tmp_path_factory.getbasetemp() / "shop.yaml"
    path.write_text(text, encoding="utf-8")
    found = read_file(path)
    _is_told_well(found)
    assert found.source is not None


# What parsing a DAG file pays for.

_MEASURE = """
import json, sys, time
from pathlib import Path
from tidegate.pipeline.reader import read_file
started = time.process_time()
found = read_file(Path(sys.argv[1]))
seconds = time.process_time() - started
print(json.dumps([len(found.streams), seconds, sorted(sys.modules)]))
"""


def test_fifty_streams_are_read_in_an_instant_and_without_heavy_modules(tmp_path: Path) -> None:
    head, _, stream = SHOP.partition("  order_lines:\n")
    text = head + "".join(f"  lines_{number}:\n{stream}" for number in range(49))
    path = tmp_path / "shop.yaml"
    path.write_text(text, encoding="utf-8")
    assert path.stat().st_size < document.MAX_BYTES
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    streams, seconds, modules = json.loads(output)
    assert streams == 50
    assert seconds < 0.3
    heavy = {"pandas", "pyarrow", "numpy", "great_expectations", "sqlalchemy", "airflow"}
    assert not heavy & set(modules)

"""The command line: exit codes, words for people, JSON for machines, and never a secret."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from base64 import b64encode
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

import tidegate
from services import Server
from tidegate import cli, faults, path
from tidegate.cli.words import OVERTAKEN
from tidegate.connections import from_environment
from tidegate.job import Job, store_endpoint
from tidegate.model import Request
from tidegate.store import open_store

FILE = """\
connection: some_shop
defaults: {lookback: 36500d}
streams:
  orders:
    table: orders
    primary_key: id
    cursor: changed
    stop_above: 50%
    clean:
      - to_number: {columns: [total], type: "decimal(12,2)"}
    expect:
      - expect_column_values_to_be_between: {column: total, min_value: 0}
    load:
      entities:
        - {type: Order, key: id, attributes: [total]}
"""
BROKEN = """\
connection: some_shop
streams:
  fine: {table: orders, primary_key: id, cursor: changed}
  torn: {table: orders, primary_key: id, curser: changed}
"""


@dataclass
class Shell:
    """Runs ``tidegate`` with a folder of pipeline files, a SQLite source and a SQLite store."""

    folder: Path
    source: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)"""
        try:
            code = cli.main(["--pipelines", str(self.folder), *arguments])
        except SystemExit as stop:  # argparse's way
            code = int(stop.code or 0)
        text = self.capture.readouterr()
        return code, text.out, text.err

    def json(self, *arguments: str) -> Any:
        """What ``--json`` prints, when all went well."""
        code, out, err = self(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.source)) as connection, connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    source = tmp_path / "source.db"
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW_CONN_SOME_SHOP", f"sqlite:///{source}")
    monkeypatch.delenv("AIRFLOW_CONN_TIDEGATE_STORE", raising=False)
    monkeypatch.delenv("TIDEGATE_STAGE", raising=False)
    folder = tmp_path / "pipelines"
    folder.mkdir()
    shell = Shell(folder, source, capsys)
    shell.write("shop.yaml", FILE)
    shell.sql(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, total TEXT, "
        "changed DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP)",
        "CREATE INDEX by_changed ON orders (changed, id)",
        "CREATE TRIGGER stamp AFTER UPDATE ON orders WHEN NEW.changed = OLD.changed BEGIN "
        "UPDATE orders SET changed = CURRENT_TIMESTAMP WHERE id = NEW.id; END",
        "INSERT INTO orders VALUES (1, '1.00', '2026-03-01'), (2, '2.50', '2026-03-02'), "
        "(3, 'three', '2026-03-03')",
    )
    return shell


# What each command says -------------------------------------------------------------------------


def test_run_says_what_became_of_every_row(shell: Shell) -> None:
    code, out, err = shell("run", "shop.orders")
    assert (code, err) == (0, "")
    assert out.startswith(
        "shop.orders (increment): 3 pulled, 2 inserted, 0 updated, 0 deleted, 0 unchanged, "
        "0 stale, 0 deduplicated, 1 quarantined; watermark 19"
    )
    report = shell.json("run", "shop.orders")
    assert (report["pulled"], report["unchanged"], report["quarantined"]) == (3, 2, 1)
    assert report["mode"] == "increment"
    assert report["stream"] == "shop.orders"


def test_streams_run_one_after_another_and_none_waits_for_one_that_fails(shell: Shell) -> None:
    more = "  gone: {table: nowhere, primary_key: id, cursor: changed}\n"
    again = "  copy: {table: orders, primary_key: id, cursor: changed}\n"
    shell.write("shop.yaml", FILE + more + again)

    code, out, err = shell("run", "shop", "shop.orders", "--json")

    assert code == 2
    assert err.startswith("tidegate: shop.gone: ") and err.count("tidegate: ") == 1
    reports = [json.loads(line) for line in out.splitlines()]
    assert [(one["stream"], one["pulled"]) for one in reports] == [
        ("shop.orders", 3), ("shop.copy", 3),
    ]  # fmt: skip
    code, out, err = shell("run", "shop.copy", "shop.orders")
    assert (code, err, out.count("(increment)")) == (0, "", 2)


def test_nothing_runs_when_a_stream_that_is_named_is_broken(shell: Shell) -> None:
    shell.write("torn.yaml", BROKEN)
    code, out, err = shell("run", "shop.orders", "torn")
    assert (code, out) == (2, "")
    assert "curser" in err
    window = ["--from", "2026-01-01", "--to", "2026-01-02", "--resume", "run"]
    code, out, err = shell("run", "shop.orders", "torn.fine", *window)
    assert (code, out) == (2, "")
    assert "--resume goes on with one run" in err


@pytest.mark.parametrize("nothing", ["no expectation", "no row"])
def test_a_run_with_nothing_to_validate_does_not_import_great_expectations(
    shell: Shell, nothing: str
) -> None:
    if nothing == "no expectation":
        shell.write(
            "shop.yaml", FILE[: FILE.index("    expect:")] + FILE[FILE.index("    load:") :]
        )
    else:
        shell.sql("DELETE FROM orders")
    code = (
        "import sys; from tidegate import cli; code = cli.main(sys.argv[1:])\n"
        "sys.exit(code or ('great_expectations' in sys.modules and 'imported'))"
    )
    command = [sys.executable, "-c", code, "--pipelines", str(shell.folder), "run", "shop.orders"]
    package = str(Path(tidegate.__file__).parents[1])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": package}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{3 if nothing == 'no expectation' else 0} pulled" in done.stdout


def test_a_run_that_another_one_does_is_skipped_and_says_so(shell: Shell) -> None:
    with open_store(store_endpoint(from_environment)) as store:
        store.lease("shop.orders", "scheduled")
        code, out, err = shell("run", "shop.orders")
        assert (code, out) == (OVERTAKEN, "")
        assert err.startswith("tidegate: shop.orders: is being run by scheduled since 20")
        assert err.endswith("This run is skipped: that one, or the next, reads what is new.\n")
        store.abandon("shop.orders", "scheduled")
    assert shell("run", "shop.orders")[0] == 0


def test_a_run_that_fails_in_whatever_way_does_not_keep_the_stream(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(faults.VARIABLE, "pull.page:fail")
    with pytest.raises(OSError, match="asked for a failure"):
        shell("run", "shop.orders")
    monkeypatch.delenv(faults.VARIABLE)
    assert shell("run", "shop.orders")[0] == 0


def test_status_says_how_far_it_is_safe_and_who_runs(shell: Shell) -> None:
    shell("run", "shop.orders")
    with open_store(store_endpoint(from_environment)) as store:
        store.lease("shop.orders", "night")
    out = shell("status", "shop.orders")[1]
    assert "shop.orders: bound: " in out
    assert "shop.orders: run night has the lease, to 20" in out
    assert "1/1" in out


def test_run_reads_a_window_or_everything(shell: Shell) -> None:
    window = shell.json("run", "shop.orders", "--from", "2026-03-01", "--to", "2026-03-02T00:00Z")
    assert (window["mode"], window["pulled"], window["watermark"]) == ("window", 1, None)
    zone = ["--from", "2026-03-02T02:00:00+02:00", "--to", "2026-03-02T02:00:01+02:00"]
    assert shell.json("run", "shop.orders", *zone)["inserted"] == 1
    full = shell.json("run", "shop.orders", "--full")
    assert (full["mode"], full["pulled"]) == ("full", 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "2026-03-01"], "give --from and --to together, or --full, or none of them"),
        (["--to", "2026-03-01"], "give --from and --to together"),
        (["--full", "--from", "2026-03-01", "--to", "2026-03-02"], "or --full, or none of them"),
        (["--from", "2026-03-02", "--to", "2026-03-01"], "2026-03-0"),
        (["--from", "2026-03-01", "--to", "2026-03-01"], "2026-03-01"),
        (["--from", "yesterday", "--to", "2026-03-01"], "'yesterday' is not a time. Write it like"),
        (["--resume", "night"], "give its --from and --to, too"),
        (["--speed", "9"], "unrecognized arguments: --speed 9"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(
    shell: Shell, arguments: list[str], message: str
) -> None:
    code, out, err = shell("run", "shop.orders", *arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("command", ["run", "compare"])
def test_an_unknown_stream_gets_the_nearest_known_one(shell: Shell, command: str) -> None:
    code, out, err = shell(command, "shop.order")
    assert (code, out) == (2, "")
    assert err == (
        "tidegate: no stream 'shop.order'. Did you mean 'shop.orders'? Known: shop.orders\n"
    )


def test_status_shows_each_stream_and_of_one_its_last_runs(shell: Shell) -> None:
    assert shell.json("status") == {"streams": [], "runs": []}
    shell("run", "shop.orders")
    shell("run", "shop.orders")

    code, out, err = shell("status")
    assert (code, err) == (0, "")
    head, line, *_ = out.splitlines()
    assert head.split() == ["stream", "rows", "deleted", "duplicates", "quarantined", "watermark",
                            "freshness_seconds", "verified_through", "verified_at",
                            "repaired"]  # fmt: skip
    assert line.split()[:5] == ["shop.orders", "2", "0", "0", "1"]
    assert float(line.split()[6]) < 60

    code, out, err = shell("status", "shop.orders")
    runs = [line.split()[:4] for line in out.splitlines() if " increment " in line]
    assert runs == [["2", "increment", "1/1", "3"], ["1", "increment", "1/1", "3"]]
    both = shell.json("status", "shop.orders")
    assert [run["seq"] for run in both["runs"]] == [2, 1]
    assert both["streams"][0]["rows"] == 2


def test_quarantine_lists_rows_and_shows_one_as_the_source_had_it(shell: Shell) -> None:
    shell("run", "shop.orders")

    code, out, err = shell("quarantine", "list")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[:2] == ["shop.orders", "3"]
    assert "'three'" in out
    assert shell("quarantine", "list", "shop.orders")[1] == out
    assert len(shell("quarantine", "list", "shop.lines")[1].splitlines()) == 1

    code, out, err = shell("quarantine", "show", "shop.orders", "3")
    (shown,) = json.loads(out)
    assert (code, err) == (0, "")
    assert shown["row"]["total"] == "three"
    assert shown["reasons"][0]["rule"] == "to_number"
    assert shell.json("quarantine", "show", "shop.orders", "3") == [shown]
    assert shell.json("quarantine", "list") == [shown]

    code, out, err = shell("quarantine", "show", "shop.orders", "1")
    assert (code, json.loads(out)) == (1, [])
    assert err == "tidegate: shop.orders: no row '1' is held\n"


def test_quarantine_replays_rows_and_lists_their_fates(shell: Shell) -> None:
    shell.sql("INSERT INTO orders VALUES (4, '-1.00', '2026-03-04'), (5, '-2.00', '2026-03-05')")
    shell("run", "shop.orders")
    shell.write("shop.yaml", FILE.replace("min_value: 0", "min_value: -1"))

    code, out, err = shell("quarantine", "replay", "shop.orders")
    assert (code, err) == (0, "")
    assert out == "shop.orders: 3 rows of the quarantine tried again: 2 held, 1 replayed\n"
    assert shell.json("quarantine", "replay", "shop.orders", "9")["pulled"] == 0
    assert shell.json("quarantine", "replay", "shop.orders", "3", "5")["details"]["fates"] == {
        "held": 2
    }
    rule = ["--rule", "to_number", "--since", "2026-01-01", "--include-mended"]
    assert shell.json("quarantine", "replay", "shop.orders", *rule)["pulled"] == 1

    head, line = shell("quarantine", "list", "--state", "replayed")[1].splitlines()
    assert head.split() == ["stream", "key", "state", "attempts", "held_at", "reason"]
    assert line.split()[:4] == ["shop.orders", "4", "replayed", "2"]
    attempts = {row["key"]: row["attempts"] for row in shell.json("quarantine", "list")}
    assert attempts == {"3": 4, "5": 3}
    assert shell.json("quarantine", "show", "shop.orders", "4")[0]["fate_seq"] == 2
    assert shell("quarantine", "replay")[0] == 2
    assert shell("quarantine", "replay", "shop.nothing")[0] == 2
    assert shell("quarantine", "replay", "shop.orders", "--since", "noon")[0] == 2


def test_compare_agrees_after_a_run_and_not_after_a_change(shell: Shell) -> None:
    shell("run", "shop.orders")
    code, out, err = shell("compare")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split() == [
        "shop.orders", "3", "2", "1", "0", "0", "0", "True",
    ]  # fmt: skip
    assert shell.json("compare", "shop.orders")[0]["agrees"] is True

    shell.sql(
        "INSERT INTO orders VALUES (4, '4', '2026-03-04')",
        "UPDATE orders SET total = '9' WHERE id = 1",
        "DELETE FROM orders WHERE id = 2",
    )
    code, out, err = shell("compare", "--json")
    (row,) = json.loads(out)
    assert (code, err) == (1, "")
    assert [row[name] for name in ("missing", "stale", "extra", "held")] == [1, 1, 1, 1]
    assert set(row["examples"]) == {"missing 4", "stale 1", "extra 2"}


def test_compare_of_everything_is_not_content_with_a_broken_file(shell: Shell) -> None:
    shell("run", "shop.orders")
    shell.write("sad.yaml", BROKEN)
    code, _, err = shell("compare")
    assert code == 2
    assert "Did you mean 'cursor'?" in err
    assert shell("compare", "shop.orders")[0] == 0


def test_schema_prints_the_file_that_editors_use(shell: Shell) -> None:
    kept = Path(__file__).parents[1] / "include" / "pipelines" / "schema.json"
    for flags in ([], ["--json"]):
        code, out, _ = shell("schema", *flags)
        assert code == 0
        assert out == kept.read_text(encoding="utf-8")


def test_docs_are_built_from_what_ran(shell: Shell, tmp_path: Path) -> None:
    shell("run", "shop.orders")
    code, out, err = shell("docs")
    assert (code, err) == (0, "")
    index = Path(out.strip())
    assert index.is_relative_to(tmp_path / "home")
    pages = "".join(page.read_text() for page in index.parent.rglob("*.html"))
    assert "shop.orders" in pages
    assert "validations" in {folder.name for folder in index.parent.iterdir()}


# check ------------------------------------------------------------------------------------------


def test_check_finds_nothing_wrong_with_what_is_right(shell: Shell) -> None:
    assert shell("check") == (0, "ok       shop.orders: the file is right\n", "")
    assert shell("check", "--connect") == (
        0, "ok       shop.orders: the file and the source agree\n", "",
    )  # fmt: skip
    assert shell.json("check", "shop") == [
        {"stream": "shop.orders", "level": "ok", "message": "the file is right"}
    ]


def test_check_says_what_is_wrong_in_each_file_and_ends_with_2(shell: Shell) -> None:
    shell.write("sad.yaml", BROKEN)
    shell.write("torn.yaml", "connection: [unclosed")
    code, out, err = shell("check", "--json")
    found = {item["stream"]: item for item in json.loads(out)}
    assert (code, err) == (2, "")
    assert {name: item["level"] for name, item in found.items()} == {
        "shop.orders": "ok", "sad.fine": "ok", "sad.torn": "error", "torn": "error",
    }  # fmt: skip
    assert "sad.yaml:4" in found["sad.torn"]["message"]
    assert "Did you mean 'cursor'?" in found["sad.torn"]["message"]
    assert "torn.yaml" in found["torn"]["message"]
    assert shell("check", "shop")[0] == 0
    code, _, err = shell("check", "shopp")
    assert code == 2
    assert "no pipeline file 'shopp'. Did you mean 'shop'?" in err


@pytest.mark.parametrize("stream", ["sad.torn", "torn.anything"])
def test_a_broken_stream_cannot_be_run_and_says_why(shell: Shell, stream: str) -> None:
    shell.write("sad.yaml", BROKEN)
    shell.write("torn.yaml", "connection: [unclosed")
    code, out, err = shell("run", stream)
    assert (code, out) == (2, "")
    assert f"{stream.partition('.')[0]}.yaml" in err


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("columns: [total]", "columns: [totl]", ["totl", "Did you mean 'total'?"]),
        ("column: total, min", "column: totl, min", ["'totl'", "Did you mean 'total'?"]),
        ("column: total, min_value: 0", "column: total, min_value: a", ["min_value", "'a'"]),
        ("attributes: [total]", "attributes: [totl]", ["Order", "Did you mean 'total'?"]),
        ("key: id,", "key: idd,", ["key of Order", "Did you mean 'id'?"]),
        ("table: orders", "table: order", ["there is no table 'order'", "Did you mean 'orders'?"]),
        ("cursor: changed", "cursor: chnged", ["no column 'chnged'", "Did you mean 'changed'?"]),
        (
            "cursor: changed",
            "cursor: changed\n    deleted: {column: gone}",
            ["deleted.column: 'orders' has no column 'gone'"],
        ),
    ],
)
def test_check_connect_finds_what_the_source_does_not_have(
    shell: Shell, old: str, new: str, messages: list[str]
) -> None:
    assert old in FILE
    shell.write("shop.yaml", FILE.replace(old, new))
    code, out, err = shell("check", "--connect", "--json")
    assert (code, err) == (2, "")
    (found,) = json.loads(out)
    assert found["level"] == "error"
    assert not found["message"].startswith("shop.orders")
    for message in messages:
        assert message in found["message"]


def test_check_connect_gives_the_index_that_is_missing(shell: Shell) -> None:
    shell.sql("DROP INDEX by_changed")
    shell.write("shop.yaml", FILE.replace("attributes: [total]", "attributes: [totl]"))
    code, out, _ = shell("check", "--connect")
    assert code == 2
    statement = "CREATE INDEX orders_changed_tidegate ON orders (changed, id)"
    assert statement in out
    assert "Did you mean 'total'?" in out
    code, _, err = shell("run", "shop.orders")
    assert code == 2
    assert statement in err
    shell.sql(statement)
    assert shell("run", "shop.orders")[0] == 2
    shell.write("shop.yaml", FILE)
    assert shell("run", "shop.orders")[0] == 0


def test_without_a_folder_of_pipeline_files_every_command_says_so(shell: Shell) -> None:
    for command in (["check"], ["run", "shop.orders"], ["compare"]):
        code = cli.main(["--pipelines", str(shell.folder / "nowhere"), *command])
        assert code == 2
        assert (
            "nowhere: no such folder. Give one with --pipelines." in shell.capture.readouterr().err
        )


# Exit codes -------------------------------------------------------------------------------------


def test_rows_that_are_not_allowed_end_with_1(shell: Shell) -> None:
    shell.write("shop.yaml", FILE.replace("50%", "0%"))
    code, out, err = shell("run", "shop.orders", "--json")
    assert (code, out) == (1, "")
    assert err.startswith("tidegate: shop.orders: 1 of 3 rows (33.3%) are held, more than stop_")
    assert shell.json("status")["streams"][0]["rows"] == 0


def test_a_connection_that_is_not_defined_ends_with_2(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SOME_SHOP")
    code, _, err = shell("run", "shop.orders")
    assert code == 2
    assert "connection 'some_shop' is not defined. Add it in Airflow" in err
    assert "AIRFLOW_CONN_SOME_SHOP" in err


def test_a_source_that_says_no_ends_with_1(shell: Shell) -> None:
    shell.source.unlink()
    code, _, err = shell("run", "shop.orders")
    assert code == 1
    assert "there is no file" in err


@pytest.mark.parametrize(
    ("seconds", "message"), [("60", "is being run by shell__"), ("0.001", "the-other-run took it")]
)
def test_a_run_that_meets_another_one_ends_with_4(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, seconds: str, message: str
) -> None:
    monkeypatch.setenv("TIDEGATE_LEASE_SECONDS", seconds)
    validate = path.validate

    def slowly(job: Job, increment: Any) -> Any:
        monkeypatch.setattr(path, "validate", validate)
        path.run(job, Request("shop.orders", "the-other-run"))
        return validate(job, increment)

    monkeypatch.setattr(path, "validate", slowly)
    code, out, err = shell("run", "shop.orders")
    assert (code, out) == (4, "")
    assert message in err


# Secrets ----------------------------------------------------------------------------------------

PASSWORDS = ["pä$s/w:rd @%&+=?#[x]", 'it\'s "quoted" \\ {back}', "p%41ss word", "пароль-密码-🔑"]


def spellings(password: str) -> list[str]:
    """As it may come out of a URL, a header, JSON, or Python."""
    escaped = [json.dumps(password)[1:-1], repr(password)[1:-1], ascii(password)[1:-1]]
    urls = [quote(password), quote(password, safe=""), quote_plus(password)]
    return [password, *urls, *escaped, b64encode(password.encode()).decode()]


def outputs(shell: Shell) -> str:
    """Everything that any command has to say."""
    commands = [
        ["check", "--connect"], ["run", "shop.orders"], ["run", "shop.orders", "--full"],
        ["compare"], ["status"], ["quarantine", "list"], ["check", "--connect", "--json"],
    ]  # fmt: skip
    texts = [shell(*command) for command in commands]
    assert {code for code, _, _ in texts} <= {0, 1, 2, 3}
    return "".join(out + err for _, out, err in texts)


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_wrong_password_is_in_no_output(
    shell: Shell,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    password: str,
) -> None:
    server: Server = request.getfixturevalue(name)
    endpoint = replace(server.fresh(), password=password)
    form = _uri if password != PASSWORDS[1] else _json
    monkeypatch.setenv("AIRFLOW_CONN_SOME_SHOP", form(server, endpoint))
    if name == "postgres":
        monkeypatch.setenv("AIRFLOW_CONN_TIDEGATE_STORE", form(server, endpoint))

    code, _, err = shell("run", "shop.orders")

    assert code == 1
    assert "Check " in err
    said = outputs(shell)
    for text in spellings(password):
        assert text not in said
        assert text not in err


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_right_password_works_whatever_characters_it_has(
    shell: Shell,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    password: str,
) -> None:
    server: Server = request.getfixturevalue(name)
    endpoint = server.fresh()
    user = f"user_of_{endpoint.database}"
    secret = password.replace("'", "''")
    if name == "mariadb":
        secret = secret.replace("\\", "\\\\")
        server.execute(
            endpoint,
            f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{secret}'",
            f"GRANT SELECT ON {endpoint.database}.* TO {user}@'127.0.0.1'",
        )
    else:
        server.execute(endpoint, f"CREATE ROLE {user} LOGIN PASSWORD '{secret}'")
    stamp = "TIMESTAMP NOT NULL"
    server.execute(
        endpoint,
        f"CREATE TABLE orders (id INTEGER PRIMARY KEY, total VARCHAR(9), changed {stamp})",
        "CREATE INDEX by_changed ON orders (changed, id)",
        "INSERT INTO orders VALUES (1, '1.00', '2026-03-01')",
    )
    if name == "postgres":
        server.execute(endpoint, f"GRANT SELECT ON orders TO {user}")
    theirs = replace(endpoint, user=user, password=password)
    for form in (_uri, _json):
        monkeypatch.setenv("AIRFLOW_CONN_SOME_SHOP", form(server, theirs))
        assert shell.json("run", "shop.orders", "--full")["pulled"] == 1


def _uri(server: Server, endpoint: Any) -> str:
    return server.uri(endpoint)


def _json(server: Server, endpoint: Any) -> str:
    return json.dumps(
        {"conn_type": endpoint.kind, "host": endpoint.host, "port": endpoint.port,
         "login": endpoint.user, "password": endpoint.password, "schema": endpoint.database}
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["mysql", "postgres"])
def test_a_server_that_does_not_answer_ends_with_3_and_without_its_password(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with socket.socket() as taken:  # bound, not listening: nobody else gets this port
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        uri = f"{kind}://ann:{quote(PASSWORDS[0], safe='')}@{place}/shop"
        monkeypatch.setenv("AIRFLOW_CONN_SOME_SHOP", uri)
        code, _, err = shell("run", "shop.orders")
        assert code == 3
        assert place in err
        assert "does not answer" in err
        said = err + outputs(shell)
        monkeypatch.setenv("AIRFLOW_CONN_TIDEGATE_STORE", uri)
        code, _, err = shell("status")
        assert code == (3 if kind == "postgres" else 2)
        said += err
    for text in spellings(PASSWORDS[0]):
        assert text not in said

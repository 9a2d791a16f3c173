"""Stored suites and Data Docs: readable, private, safe to write from many processes."""

from __future__ import annotations

import json
import multiprocessing
import os
from decimal import Decimal
from pathlib import Path

from tidegate.validate.docs import build_docs, save_outcome, save_suite
from validate.pages import Expected, check, page, suite

TYPES = {"email": "string", "price": "decimal(10,2)", "at": "timestamp"}
SECRET = "eve.adams@example.org"
EXPECTED: list[Expected] = [
    ("expect_column_values_to_match_regex", {"column": "email", "regex": "^[a-z]+@"}),
    (
        "expect_column_values_to_be_between",
        {"column": "price", "min_value": "0.01"},
    ),
    ("expect_column_values_to_be_between", {"column": "at", "min_value": "2020-01-01T00:00:00Z"}),
    ("expect_column_max_to_be_between", {"column": "price", "max_value": 5}),
    ("expect_column_values_to_not_be_null", {"column": "at", "mostly": 0.5}),
]  # fmt: skip


def test_data_docs_show_expectations_and_counts_but_no_value_of_a_row(tmp_path: Path) -> None:
    checked = suite(TYPES, *EXPECTED)
    outcome = check(
        checked, page(TYPES, [[SECRET, Decimal("-77.31"), 0], ["eve@x", Decimal("88.42"), 2**51]])
    )
    assert SECRET in outcome.held[0, 0][0].message
    save_suite(checked, tmp_path)

    index = build_docs(tmp_path, {"shop.orders": outcome})

    assert index == tmp_path / "gx/uncommitted/data_docs/local_site/index.html"
    written = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    pages = [file for file in written if file.suffix == ".html"]
    assert any("expectations" in file.parts for file in pages)
    [result] = [file for file in pages if "validations" in file.parts]
    assert b"email" in written[result]
    for text in written.values():
        assert SECRET.encode() not in text
        assert b"77.31" not in text
        assert b"88.42" not in text


def test_data_docs_do_not_report_who_reads_them(tmp_path: Path) -> None:
    save_suite(suite(TYPES, *EXPECTED), tmp_path)

    pages = list(build_docs(tmp_path).parent.rglob("*.html"))

    assert len(pages) == 2
    for file in pages:
        text = file.read_text()
        assert "dataContextId" not in text
        assert "great-expectations-web-assets" not in text


def test_data_docs_show_the_last_validation_only(tmp_path: Path) -> None:
    checked = suite(TYPES, *EXPECTED)
    save_suite(checked, tmp_path)
    for price in (Decimal(1), Decimal(2), Decimal(3)):
        outcome = check(checked, page(TYPES, [["eve@x", price, 2**51]]))
        save_outcome("shop.orders", outcome, tmp_path)
        build_docs(tmp_path)

    site = tmp_path / "gx/uncommitted/data_docs/local_site/validations"
    assert len(list(site.rglob("*.html"))) == 1


def test_docs_survive_a_suite_that_changed_after_its_last_validation(tmp_path: Path) -> None:
    checked = suite(TYPES, *EXPECTED)
    save_outcome("shop.orders", check(checked, page(TYPES, [["eve@x", Decimal(1), 5]])), tmp_path)
    save_suite(suite(TYPES, EXPECTED[0]), tmp_path)

    assert build_docs(tmp_path).exists()


def test_everything_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        save_suite(suite(TYPES, *EXPECTED), tmp_path / "home")
    finally:
        os.umask(old)
    assert (tmp_path / "home/gx").stat().st_mode & 0o777 == 0o700


def test_an_unchanged_suite_is_not_written_again(tmp_path: Path) -> None:
    file = save_suite(suite(TYPES, *EXPECTED), tmp_path)
    before = file.stat()

    assert save_suite(suite(TYPES, *EXPECTED), tmp_path) == file
    assert file.stat().st_ino == before.st_ino

    save_suite(suite(TYPES, *EXPECTED[:2]), tmp_path)
    assert len(json.loads(file.read_text())["expectations"]) == 2


def test_great_expectations_opens_what_was_saved(tmp_path: Path) -> None:
    import great_expectations as gx

    save_suite(suite(TYPES, *EXPECTED), tmp_path)
    context = gx.get_context(mode="file", project_root_dir=tmp_path)
    [saved] = context.suites.all()

    assert saved.name == "shop.orders"
    assert [item.expectation_type for item in saved.expectations] == [name for name, _ in EXPECTED]
    assert context.config.analytics_enabled is False


def _save(home: Path, worker: int, gate: object) -> None:
    gate.wait()  # type: ignore[attr-defined]
    for turn in range(10):
        save_suite(suite(TYPES, *EXPECTED[: 1 + (worker + turn) % 5]), home)


def test_four_processes_may_save_at_once(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    gate = fork.Barrier(4)
    workers = [fork.Process(target=_save, args=(tmp_path, number, gate)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)

    assert [worker.exitcode for worker in workers] == [0] * 4
    folder = tmp_path / "gx/expectations/shop"
    assert [file.name for file in folder.iterdir()] == ["orders.json"]
    assert json.loads((folder / "orders.json").read_text())["name"] == "shop.orders"
    assert build_docs(tmp_path).exists()

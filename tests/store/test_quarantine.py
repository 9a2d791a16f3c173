"""What waits in quarantine, and what does not any more, in whichever order reads arrive."""

from __future__ import annotations

from store.increments import Desk
from store.test_loading import row
from tidegate.hashing import row_hashes
from tidegate.model import Mode
from tidegate.stage import pages


def states(desk: Desk) -> dict[str, str]:
    found = desk.store.held() + desk.store.held(state="mended")
    return {item["key"]: item["state"] for item in found}


def test_a_bad_version_that_is_loaded_late_does_not_wait_behind_a_newer_good_one(
    desk: Desk,
) -> None:
    early, late = desk.store.issue_read(desk.name), desk.store.issue_read(desk.name)
    desk.load([row(1), row(2, _held="bad")], read=late)
    desk.load([row(1, _held="bad"), row(2, _held="bad")], read=early, mode=Mode.WINDOW)
    assert states(desk) == {"1": "mended", "2": "held"}


def test_of_two_versions_in_one_increment_the_later_decides(desk: Desk) -> None:
    good_last = [row(1, _held="bad"), row(8), row(9), row(1, "5.00")]
    bad_last = [row(2, "5.00"), row(6), row(7), row(2, _held="bad")]
    desk.load(good_last)
    desk.load(bad_last)
    assert states(desk) == {"1": "mended", "2": "held"}


def test_rows_that_wait_as_they_are_are_told_from_others(desk: Desk) -> None:
    staged = desk.stage([row(1, _held="bad"), row(None, _held="NULL key"), row(3, _held="bad")])
    desk.store.load(staged, desk.stream)
    (page,) = pages(staged)
    names = ["id", "customer", "total", "gone", "updated_at"]
    hashes = row_hashes(page, names).to_pylist()
    nameless = next(item["key"] for item in desk.store.held() if item["key"].startswith("?"))
    known = list(zip(["1", nameless, "3"], hashes, strict=True))
    assert desk.store.held_before(desk.name, known) == 3
    assert desk.store.held_before(desk.name, [("1", 0), ("2", hashes[0]), *known[2:]]) == 1
    assert desk.store.held_before("shop.other", known) == 0
    desk.load([row(3)])
    assert desk.store.held_before(desk.name, known * 400) == 800

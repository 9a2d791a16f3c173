"""F12: the table's definition changes between two pages of a read."""

from __future__ import annotations

import time

from faults.world import World, place_of

ADD = ("ALTER TABLE item ADD COLUMN extra INT DEFAULT 7",)
CHANGES: dict[str, dict[str, tuple[str, ...]]] = {
    "add": {"mysql": ADD, "postgres": ADD},
    "widen": {
        "mysql": (
            "ALTER TABLE item MODIFY gone INT NOT NULL DEFAULT 0, MODIFY amount VARCHAR(60)",
        ),
        "postgres": (
            "ALTER TABLE item ALTER COLUMN gone TYPE INT, ALTER COLUMN amount TYPE VARCHAR(60)",
        ),
    },
    "swap": {
        "mysql": (
            "CREATE TABLE item_new LIKE item",
            "INSERT INTO item_new SELECT * FROM item",
            "RENAME TABLE item TO item_old, item_new TO item",
        ),
        "postgres": (
            "CREATE TABLE item_new (LIKE item INCLUDING ALL)",
            "INSERT INTO item_new SELECT * FROM item",
            "CREATE TRIGGER stamp BEFORE UPDATE ON item_new FOR EACH ROW EXECUTE FUNCTION stamp()",
            "ALTER TABLE item RENAME TO item_old; ALTER TABLE item_new RENAME TO item",
        ),
    },
}


def between_pages(world: World) -> float | None:
    """Add a column, widen two, or put a copy in the table's place, as online migrations do."""
    world.variant = list(CHANGES)[world.seed % len(CHANGES)]
    page = world.chance.choice([1, 1, 2])
    run = world.start("full", fault=f"pull.page:stop:{page}", whole=world.chance.random() < 0.5)
    if not run.until_stopped():
        return None
    with world.writers.held():
        place_of(world.source).run(*CHANGES[world.variant][world.source.kind])
    began = time.monotonic()
    run.go_on()
    world.complain_unless(run.wait(), "ok", "retry", "skipped")
    world.recover(run)
    return time.monotonic() - began

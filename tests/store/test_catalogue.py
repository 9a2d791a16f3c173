"""What the database knows of a table, as it is now: also in a session that asked before."""

from __future__ import annotations

import services
from tidegate.store import catalogue
from tidegate.store.catalogue import Made

NAME = 'Odd "name": 100 %'
QUOTED = '"Odd ""name"": 100 %"'


def test_a_table_is_told_with_its_columns_its_key_and_its_indexes(
    sqlite: services.Server, postgres: services.Server
) -> None:
    for server in (sqlite, postgres):
        shop = server.fresh()
        server.execute(
            shop,
            f'CREATE TABLE {QUOTED} (b INTEGER NOT NULL, "A:c" TEXT)',
            f"CREATE UNIQUE INDEX first ON {QUOTED} (b)",
            "CREATE TABLE keyed (id INTEGER, v TEXT, CONSTRAINT pk PRIMARY KEY (v))",
        )
        with server.engine(shop).connect() as connection:
            assert catalogue.has(connection, NAME)
            assert catalogue.made(connection, NAME) == Made(("b", "A:c"), ("first",), keyed=False)
            assert catalogue.made(connection, "keyed").keyed
            assert not catalogue.has(connection, "odd")
            assert catalogue.made(connection, "odd") == Made()


def test_a_table_that_another_session_made_is_seen_by_who_asked_before(
    postgres: services.Server,
) -> None:
    shop = postgres.fresh()
    with postgres.engine(shop).connect() as connection:
        assert not catalogue.has(connection, "orders")
        assert not catalogue.made(connection, "orders").columns
        postgres.execute(shop, "CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        assert catalogue.has(connection, "orders")
        assert catalogue.made(connection, "orders").columns == ("id",)

"""A web shop on MySQL or MariaDB that never rests: ``python -m demo.commerce CONNECTION_ID``.

It does what makes incremental reading hard, and does it on purpose:

- *late commits*: several connections have transactions open at once, for :data:`HOLD` steps; rows
  get their stamps and numbers when they are written, and are seen when the others are long there;
- *rollbacks*, which leave holes in the numbers;
- updates of old rows, one stamp for many rows, soft deletes (orders, customers, products), hard
  deletes (items, stock), orders that are sent twice;
- dirt: stock that is missing, dates and prices in several formats or none, unknown words, emoji.

The same seed does the same things in the same order, whatever the time: all connections are driven
by one thread, and what an open transaction has locked is left alone until it ends.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from demo import goods, traffic, words
from demo.mysql import Transaction, connect

if TYPE_CHECKING:
    from pymysql import Connection

    from tidegate.connections import Endpoint

TABLES = ("customers", "products", "orders", "order_items", "inventory", "stock_movements")
FATES = {"now": 84, "late": 12, "undone": 4}
"""What becomes of a transaction, of a hundred; *undone* ones are late, too."""
HOLD = (4, 24)
"""Steps that a late transaction stays open."""
TWICE_SHARE = 0.08
DIRTY_SHARE = 0.03


@dataclass
class Commerce:
    """The shop. :meth:`open` it, :meth:`step` through its life, :meth:`finish`."""

    connect: Callable[[], Connection[Any]]
    seed: int = 7
    today: Callable[[], date] = lambda: datetime.now(UTC).date()
    steps: int = 0
    open_ones: list[Transaction] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)

    def open(self, customers: int = 200, products: int = 60, orders: int = 400) -> None:
        """Create the tables and a past of some weeks, once; an existing shop just goes on."""
        self._idle = [self.connect()]
        self._again: list[tuple[int, tuple[Any, ...]]] = []
        now = self._begin()
        exists = now.run("SHOW TABLES LIKE 'stock_movements'")
        if not exists:
            for statement in goods.SCHEMA:
                now.run(statement)
        self._number = self._top(now, "orders", "order_no")
        self._customers = self._top(now, "customers", "customer_no")
        self._products = self._top(now, "products", "sku")
        self.chance = random.Random(f"{self.seed} {self._number}")
        for count, make in (
            (products, self._new_product), (customers, self._new_customer),
            (orders, self._new_order),
        ):  # fmt: skip
            for _ in range(0 if exists else count):
                make(now)
        if not exists:
            for table in goods.STAMPED:
                now.run(goods.PAST.format(table=table))
        self._end(now)

    def step(self) -> None:
        """One thing happens, in a transaction that ends now, or later, or as if it never was."""
        self.steps += 1
        for one in [one for one in self.open_ones if one.due <= self.steps]:
            self.open_ones.remove(one)
            self._end(one)
        (happening,) = self.chance.choices(list(self._happenings), [*self._happenings.values()])
        (fate,) = self.chance.choices(list(FATES), list(FATES.values()))
        transaction = self._begin()
        self._send_again(transaction)
        happening(transaction)
        if fate == "now":
            self._end(transaction)
            return
        transaction.due = self.steps + self.chance.randint(*HOLD)
        transaction.kept = fate == "late"
        self.open_ones.append(transaction)

    def finish(self) -> None:
        """End every open transaction as it was meant to."""
        while self.open_ones:
            self._end(self.open_ones.pop(0))
        for session in self._idle:
            session.close()

    def _begin(self) -> Transaction:
        transaction = Transaction(self._idle.pop() if self._idle else self.connect())
        transaction.run("START TRANSACTION")
        return transaction

    def _end(self, transaction: Transaction) -> None:
        transaction.run("COMMIT" if transaction.kept else "ROLLBACK")
        self._idle.append(transaction.session)

    # What can happen.

    @property
    def _happenings(self) -> dict[Callable[[Transaction], None], int]:
        return {
            self._new_order: 34, self._advance: 28, self._cancel: 4, self._remove_item: 4,
            self._new_customer: 6, self._change_customer: 5, self._reprice: 6, self._deliver: 7,
            self._recount: 6, self._delist: 1, self._new_product: 1,
        }  # fmt: skip

    def _new_order(self, now: Transaction) -> None:
        """An order with its items; the stock is reserved. Some are sent twice, a while apart."""
        customers = self._some(now, "customers", ["customer_no"], "deleted_at IS NULL")
        stock = self._some(now, "inventory", ["warehouse", "sku"], "1 = 1", self._between(1, 4))
        if not customers or not stock:
            return
        self._number += 1
        number, items, total = f"WS-{self._number:06d}", [], Decimal(0)
        for line, (warehouse, sku) in enumerate(stock, 1):
            quantity = -2 if self._dirty() else self._between(1, 6)
            price = Decimal(self._between(250, 90_000)) / 100
            items.append((number, line, sku, warehouse, quantity, price))
            total += quantity * price
            now.run(goods.RESERVE, (quantity, warehouse, sku))
        day = self.today() - timedelta(days=self._between(0, 40))
        status = self.chance.choice(words.STATUSES[:3])
        order = (
            number, customers[0][0], self._status(status), self._day(day), total,
            self.chance.choice(words.NOTES),
        )  # fmt: skip
        now.run(goods.ORDER, order)
        now.locked.add(number)
        for item in items:
            now.run(goods.ITEM, item)
        if self.chance.random() < TWICE_SHARE:
            self._again.append((self.steps + self._between(0, 12), order))

    def _send_again(self, now: Transaction) -> None:
        """The second copies of orders that are due: another row, the same order number."""
        for entry in [entry for entry in self._again if entry[0] <= self.steps]:
            self._again.remove(entry)
            now.run(goods.ORDER, entry[1])
            now.locked.add(entry[1][0])

    def _advance(self, now: Transaction) -> None:
        """An order moves on to its next status; what is shipped leaves the warehouse."""
        for number, before in self._some(now, "orders", ["order_no", "status"], _LIVE):
            known = next((s for s, spelt in words.SPELLINGS.items() if before in spelt), "new")
            at = min(words.STATUSES.index(known) + 1, len(words.STATUSES) - 1)
            status = words.STATUSES[at]
            spelt = self._status(status)
            now.run("UPDATE orders SET status = %s WHERE order_no = %s", (spelt, number))
            if status == "shipped":
                for warehouse, sku, quantity in now.run(goods.ITEMS, [number]):
                    self._move(now, (warehouse, sku), -quantity, "shipped", number)

    def _cancel(self, now: Transaction) -> None:
        """An order is marked as deleted; its items are gone for good."""
        for (number,) in self._some(now, "orders", ["order_no"], _LIVE):
            now.run("UPDATE orders SET deleted_at = NOW(6) WHERE order_no = %s", [number])
            now.run("DELETE FROM order_items WHERE order_no = %s", [number])

    def _remove_item(self, now: Transaction) -> None:
        """A customer changes their mind: an item is gone for good."""
        for (number,) in self._some(now, "orders", ["order_no"], _LIVE):
            now.run("DELETE FROM order_items WHERE order_no = %s AND line > 1", [number])

    def _new_customer(self, now: Transaction) -> None:
        self._customers += 1
        first, last = self.chance.choice(words.FIRST), self.chance.choice(words.LAST)
        number = f"C-{self._customers:06d}"
        name = self.chance.choice(("", "   ", None)) if self._dirty() else f"{first}  {last}"
        row = (
            number, name, f" {first}.{last}@Example.ORG", self.chance.choice(goods.PHONES),
            self.chance.choice(goods.COUNTRIES), self.chance.choice(("yes", "no", "Y", "0", None)),
            date(1931, 1, 1) + timedelta(days=self._between(0, 27_000)),
        )  # fmt: skip
        now.run(goods.CUSTOMER, row)

    def _change_customer(self, now: Transaction) -> None:
        """A customer moves, or leaves."""
        for (number,) in self._some(now, "customers", ["customer_no"], "deleted_at IS NULL"):
            country = self.chance.choice(goods.COUNTRIES)
            now.run("UPDATE customers SET country = %s WHERE customer_no = %s", (country, number))
            if self.chance.random() < 0.2:
                leave = "UPDATE customers SET deleted_at = NOW(6) WHERE customer_no = %s"
                now.run(leave, [number])

    def _reprice(self, now: Transaction) -> None:
        """Several products get a new price in one statement: one stamp for all of them."""
        found = self._some(now, "products", ["sku"], "deleted_at IS NULL", 4)
        if not found:
            return
        skus = [sku for (sku,) in found]
        marks = ", ".join(["%s"] * len(skus))
        text = f"UPDATE products SET list_price = %s WHERE sku IN ({marks})"  # noqa: S608
        now.run(text, [self._price(), *skus])
        if self.chance.random() < 0.1:
            now.run("UPDATE products SET deleted_at = NOW(6) WHERE sku = %s", skus[:1])

    def _deliver(self, now: Transaction) -> None:
        """Goods arrive."""
        for place in self._some(now, "inventory", ["warehouse", "sku"], "1 = 1", 2):
            self._move(now, place, self._between(5, 60), "delivery")

    def _recount(self, now: Transaction) -> None:
        """Somebody counts; the result is a number, or missing, or now and then nonsense."""
        for place in self._some(now, "inventory", ["warehouse", "sku"], "1 = 1"):
            counted = self.chance.choice((None, None, 0, self._between(1, 200)))
            found = -7 if self._dirty() else counted
            text = "UPDATE inventory SET on_hand = %s WHERE warehouse = %s AND sku = %s"
            now.run(text, (found, *place))

    def _delist(self, now: Transaction) -> None:
        """A warehouse has a product no more: the row is gone for good."""
        for place in self._some(now, "inventory", ["warehouse", "sku"], "reserved <= 0"):
            now.run("DELETE FROM inventory WHERE warehouse = %s AND sku = %s", place)

    def _new_product(self, now: Transaction) -> None:
        """A product, and its place in the warehouses; nobody has counted it in all of them."""
        self._products += 1
        thing, sku = self.chance.choice(words.THINGS), f"{self._products:05d}"
        name = f"{self.chance.choice(words.LOOKS)} {thing}{self.chance.choice(goods.MARKS)}"
        now.run(goods.PRODUCT, (sku, name, words.CATEGORIES[thing], self._price()))
        for warehouse in self.chance.sample(goods.WAREHOUSES, 2):
            now.run(goods.STOCK, (warehouse, sku, self.chance.choice((None, 12, 40)), None))

    def _move(
        self, now: Transaction, place: Sequence[Any], delta: int, reason: str, order: str = ""
    ) -> None:
        """A change of the inventory, unless somebody else has the row just now."""
        if self._is_locked("/".join(place)):
            return
        now.locked.add("/".join(place))
        now.run(goods.CHANGE, (delta, *place))
        now.run(goods.MOVEMENT, (*place, delta, reason, order or None))

    # Choosing.

    def _some(
        self, now: Transaction, table: str, key: list[str], where: str, most: int = 1
    ) -> list[tuple[Any, ...]]:
        """Random rows of the newest that nobody has locked; locked by *now* from here on."""
        last, names = goods.KEYS[table], ", ".join(key)
        query = goods.SOME.format(names=names, last=last, table=table, where=where)
        rows = [row for row in now.run(query) if not self._is_locked(row[-1])]
        found = self.chance.sample(rows, min(most, len(rows)))
        now.locked.update(row[-1] for row in found)
        return [row[:-1] for row in found]

    def _is_locked(self, key: str) -> bool:
        return any(key in one.locked for one in self.open_ones)

    def _top(self, now: Transaction, table: str, key: str) -> int:
        """The largest number in the keys of *table*."""
        ((top,),) = now.run(f"SELECT MAX({key}) FROM {table}")  # noqa: S608
        return int(top.split("-")[-1]) if top else 0

    def _between(self, low: int, high: int) -> int:
        return self.chance.randint(low, high)

    def _dirty(self) -> bool:
        return self.chance.random() < DIRTY_SHARE

    def _status(self, status: str) -> str:
        known = [*words.SPELLINGS[status], *(["已付款"] if status == "paid" else [])]
        return self.chance.choice([*words.UNKNOWN_STATUSES] if self._dirty() else known)

    def _day(self, day: date) -> str:
        if self._dirty():
            return self.chance.choice(words.BROKEN_DATES)
        return day.strftime(self.chance.choice(("%Y-%m-%d", "%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d")))

    def _price(self) -> str:
        if self._dirty():
            return self.chance.choice(words.BROKEN_PRICES)
        return self.chance.choice(goods.PRICES).format(self._between(300, 400_000) / 100)


_LIVE = "deleted_at IS NULL"


def make(endpoint: Endpoint, seed: int) -> Commerce:
    """The shop behind *endpoint*."""
    return Commerce(lambda: connect(endpoint), seed)


if __name__ == "__main__":
    sys.exit(traffic.main(make, __doc__))

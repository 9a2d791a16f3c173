"""The safeguards of the protocol, each with what its loss would look like and who must notice.

A mutant replaces lines of ``include/tidegate/``; :mod:`faults.mutation` runs the tests named here
on the result. Where two safeguards cover each other, a test looks at one of them, or the mutant
takes both away.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patch:
    """In *file*, below ``include/tidegate/``: *old*, which is there exactly once, becomes *new*."""

    file: str
    old: str
    new: str = ""


@dataclass(frozen=True)
class Mutant:
    """A build *without* a safeguard; each of *tests* must fail on it, and say *because*."""

    name: str
    without: str
    patches: tuple[Patch, ...]
    tests: tuple[str, ...]
    because: str = ""


LOADING = "tests/store/test_loading.py::test_"
LEASES = "tests/store/test_leases.py::test_"
LOST = "== set()"
"""How a scenario of late commits says that the product lost a row."""
BOUNDS = "tests/sources/test_bounds.py::test_"
RULES = "tests/faults/test_safeguards.py::test_"
DRIFT = "tests/test_drift.py::test_"
VERIFY = "tests/test_verify.py::test_"
FIRST = "tests/test_first_load.py::test_"
SQL = "sources/sql"


def late(scenario: str, source: str = "mariadb") -> str:
    """A scenario of rows that commit late."""
    name = f"test_{source}_no_late_row_is_lost_and_guesses_lose_it"
    return f"tests/sources/test_late_commits.py::{name}[{scenario}-0]"


_HOLD = Patch(
    "store/leases.py",
    "    if connection.execute(sa.text(_HOLD), values).rowcount != 1:\n",
    "    if connection.execute(sa.text(_HOLD), values).rowcount > 1:\n",
)
_COMPARE = Patch(
    "store/ledger.py",
    ".where(table.c.name == stream, table.c.generation == increment.generation)",
    ".where(table.c.name == stream)",
)
_FORWARD = Patch(
    "store/ledger.py",
    "    if after is not None and not increment.anew:\n"
    "        after = after.later(before.watermark)\n",
    "",
)

MUTANTS = (
    Mutant(
        "no-fence",
        "the fence in the load's transaction",
        (_HOLD,),
        (
            f"{LEASES}a_run_that_slept_through_its_lease_commits_nothing_and_says_who_took_over",
            f"{LEASES}a_run_that_tries_again_keeps_its_first_attempt_out",
        ),
    ),
    Mutant(
        "same-fence-again",
        "a new fence for a run that tries again",
        (
            Patch(
                "store/leases.py",
                "SET fence = fence + 1,",
                "SET fence = CASE WHEN lease_owner = :owner THEN fence ELSE fence + 1 END,",
            ),
        ),
        (f"{LEASES}a_run_that_tries_again_keeps_its_first_attempt_out",),
    ),
    Mutant(
        "renew-anyway",
        "the look at the fence when a lease is renewed",
        (
            Patch(
                "store/leases.py",
                "            with self._engine.begin() as connection:\n"
                "                hold(connection, stream, fence)\n"
                "            self._renewed",
                "            self._renewed",
            ),
        ),
        (f"{LEASES}a_run_that_slept_through_its_lease_commits_nothing_and_says_who_took_over",),
    ),
    Mutant(
        "no-compare-and-set",
        "the compare-and-set of the watermark",
        (_COMPARE,),
        (f"{LOADING}the_watermark_moves_only_from_where_the_pull_saw_it",),
    ),
    Mutant(
        "no-fence-no-compare-and-set",
        "both, and the rule that the watermark never moves back",
        (_HOLD, _COMPARE, _FORWARD),
        (
            f"{LEASES}a_run_that_slept_through_its_lease_commits_nothing_and_says_who_took_over",
            f"{LOADING}the_watermark_moves_only_from_where_the_pull_saw_it",
            f"{LOADING}the_watermark_never_moves_back",
        ),
    ),
    Mutant(
        "no-order",
        "the order of reads: what was read earlier overwrites what was read later",
        (
            Patch(
                "store/record/merge.py",
                "    WHEN (s._token, s._hash) < (c._token, c._hash) THEN 'stale'\n",
            ),
        ),
        (f"{LOADING}an_older_read_never_overwrites_a_newer_one",),
    ),
    Mutant(
        "no-ledger",
        "the look into the ledger: a load whose reply was lost is loaded again",
        (
            Patch(
                "store/ledger.py",
                "    return {row.part: _report(row) for row in connection.execute(query)}",
                "    return {row.part: _report(row) for row in connection.execute(query) if False}",
            ),
        ),
        (f"{RULES}a_load_that_is_repeated_changes_nothing",),
    ),
    Mutant(
        "watermark-apart",
        "one transaction for rows and watermark: the watermark is stored first",
        (
            Patch(
                "store/loading.py",
                "                with connection.execution_options(reads=False).begin() as "
                "transaction:\n",
                "                if part.last and todo.increment.request.mode.advances:\n"
                "                    with self.engine.begin() as apart:\n"
                "                        ledger.advance(apart, todo.increment)\n"
                "                    number = todo.increment.generation + 1\n"
                "                    todo = replace(todo, increment=replace(todo.increment, "
                "generation=number))\n"
                "                with connection.execution_options(reads=False).begin() as "
                "transaction:\n",
            ),
        ),
        (f"{RULES}a_crash_before_the_commit_leaves_rows_and_watermark",),
    ),
    Mutant(
        "watermark-with-the-first-part",
        "the watermark only with the last part of a load",
        (
            Patch(
                "store/loading.py",
                "        if part.last:\n            agreements.settle",
                "        if part.number == 1:\n            agreements.settle",
            ),
            Patch("store/loading.py", "        ledger.require(connection, increment)\n", ""),
        ),
        (f"{RULES}a_crash_between_two_parts_is_made_up_for",),
    ),
    Mutant(
        "after-the-watermark",
        "the watermark itself: reading begins after it, not at it",
        (
            Patch(
                "sources/sql/dialect.py",
                "        return named(native.own) >= self.bind(bound)",
                "        return named(native.own) > self.bind(bound)",
            ),
            Patch(
                "sources/sql/sqlite.py",
                "column >= self.bind(bound), sa.or_(column < first, column >= same)",
                "column > self.bind(bound), sa.or_(column < first, column > same)",
            ),
        ),
        (f"{BOUNDS}a_read_begins_at_the_watermark_itself",),
    ),
    Mutant(
        "bound-after-reading",
        "the order of pull: the bound is computed when everything was read",
        (
            Patch(
                "pulling.py",
                "        memory = {**(seen.memory or {}), **source.memory()}\n",
                "        seen = source.observe(store, state.memory)\n"
                "        memory = {**(seen.memory or {}), **source.memory()}\n"
                "        begun = replace(begun, high=seen.high)\n",
            ),
        ),
        (f"{RULES}a_row_that_arrives_while_the_last_page_is_read_is_not_passed_over",),
    ),
    Mutant(
        "read-from-the-new-bound",
        "reading from the old watermark: it is read from the new bound on",
        (
            Patch(
                "pulling.py",
                "    if watermark is None or seen.floor is None:\n        return watermark\n",
                "    if True:\n        return watermark and (seen.high or watermark)\n",
            ),
        ),
        (f"{RULES}rows_between_the_old_watermark_and_the_new_one_are_read",),
    ),
    Mutant(
        "no-floor",
        "the floor that a clock leaves that was set back",
        (
            Patch(
                "pulling.py",
                "    if watermark is None or seen.floor is None:\n        return watermark\n",
                "    if True:\n        return watermark\n",
            ),
        ),
        (f"{RULES}a_clock_that_was_set_back_hides_no_row",),
    ),
    Mutant(
        "bound-is-the-clock",
        "the drain barrier: the bound is the server's clock",
        (
            Patch(
                f"{SQL}/bounds/bound.py",
                "            moment = safe.moment and safe.moment - MARGIN",
                "            moment = safe.clock.server - MARGIN",
            ),
        ),
        (late("out_of_order"), late("prepared_xa")),
        because=LOST,
    ),
    Mutant(
        "bound-is-the-newest-row",
        "any bound: the watermark is the largest cursor there is",
        (
            Patch(
                f"{SQL}/bounds/bound.py",
                "            moment = safe.moment and safe.moment - MARGIN",
                "            newest = sa.func.max(self._plan.named(self._stream.cursor))\n"
                "            newest = sa.select(newest).select_from(self._plan.source)\n"
                "            safe = replace(safe, moment=self._session.scalar(newest).replace("
                "tzinfo=self._zone) + MARGIN)\n"
                "            moment = safe.moment and safe.moment - MARGIN",
            ),
            Patch(
                f"{SQL}/bounds/bound.py",
                "from dataclasses import dataclass\n",
                "from dataclasses import dataclass, replace\n",
            ),
        ),
        (late("out_of_order"), late("slow_statement")),
        because=LOST,
    ),
    Mutant(
        "no-canary",
        "the canary: InnoDB's list of transactions may be stale",
        (
            Patch(
                f"{SQL}/bounds/drain.py",
                "        if len(others) < len(found) < _MOST:\n",
                "        if len(found) < _MOST:\n",
            ),
        ),
        (late("stale_list"),),
        because=LOST,
    ),
    Mutant(
        "no-process-list",
        "the list of busy sessions: a statement that has no transaction yet",
        (
            Patch(
                f"{SQL}/bounds/drain.py",
                "            frozenset(number for number, command in commands.items() "
                'if command != "Sleep"),\n',
                "            frozenset(),\n",
            ),
        ),
        (late("slow_statement"), late("slow_function")),
        because=LOST,
    ),
    Mutant(
        "no-open-transactions",
        "the list of open transactions",
        (
            Patch(
                f"{SQL}/bounds/drain.py",
                "            {int(number): int(began) for number, began in transactions "
                "if number},\n",
                "            {},\n",
            ),
        ),
        (late("out_of_order"), late("slow_then_idle")),
        because=LOST,
    ),
    Mutant(
        "ignore-xa",
        "holding the bound while a prepared XA transaction has no client",
        (
            Patch(
                f"{SQL}/bounds/drain.py",
                "    if any(not number for number, _ in transactions):\n",
                "    if False:\n",
            ),
        ),
        (late("prepared_xa"),),
        because=LOST,
    ),
    Mutant(
        "ignore-prepared",
        "holding the bound while a prepared transaction is open (PostgreSQL)",
        (Patch(f"{SQL}/bounds/starts.py", "    if prepared:\n", "    if False:\n"),),
        (late("prepared_transaction", "postgres"),),
        because=LOST,
    ),
    Mutant(
        "transactions-without-statements",
        "the start of the statement, where it is older than its transaction (PostgreSQL)",
        (
            Patch(
                f"{SQL}/bounds/starts.py",
                "least(xact_start, CASE WHEN backend_type <> 'walsender'\"\n"
                "    \" AND state IN ('active', 'fastpath function call') THEN query_start END) AS",
                "xact_start AS",
            ),
        ),
        (late("committing_procedure", "postgres"),),
        because=LOST,
    ),
    Mutant(
        "ignore-missing-right",
        "the look for the right to see other sessions (PostgreSQL)",
        (Patch(f"{SQL}/bounds/starts.py", "    if not sees:\n", "    if False:\n"),),
        (f"{RULES}without_the_right_to_see_sessions_no_row_is_lost",),
    ),
    Mutant(
        "no-fingerprint",
        "the look at the table's columns after the last page",
        (
            Patch(
                "pulling.py",
                '    faults.point("pull.read")\n    if what := source.changed():\n',
                '    faults.point("pull.read")\n    if what := "":\n',
            ),
        ),
        (f"{DRIFT}a_table_that_does_not_come_to_rest_is_left_for_later",),
    ),
    Mutant(
        "no-brake",
        "the brake on deletions",
        (Patch("deletes.py", "    if count <= most:\n", "    if count:\n"),),
        (f"{VERIFY}more_gone_than_the_brake_allows_deletes_nothing_until_somebody_says_so",),
    ),
    Mutant(
        "gone-unasked",
        "asking the source again for a row that seems to be gone",
        (
            Patch(
                "deletes.py",
                "        yield from (key for key in some if key not in found)\n",
                "        yield from some\n",
            ),
            Patch(
                "pulling.py",
                '        absent -= set(page.column("_key").to_pylist() if absent else ())\n',
            ),
        ),
        (f"{RULES}a_row_that_returns_while_deletions_are_sought_stays[sqlite-to-sqlite]",),
    ),
    Mutant(
        "tombstone-without-a-number",
        "the number of the read that did not find a row: it is older than the row",
        (Patch("pulling.py", "begun.read << PAGE_BITS | len(writer.pages)", "0"),),
        (f"{VERIFY}every_planted_fault_is_found_and_repaired[sqlite-sqlite]",),
    ),
    Mutant(
        "tombstone-for-ever",
        "the number of the read that did not find a row: it is newer than all to come",
        (Patch("pulling.py", "begun.read << PAGE_BITS | len(writer.pages)", "1 << 62"),),
        (f"{VERIFY}a_row_that_comes_back_after_it_was_gone_is_loaded_again",),
    ),
    Mutant(
        "hot-rows-compared",
        "leaving rows above the watermark out of a verification",
        (
            Patch(
                "verify/chunks.py",
                "self._source.chunk(first, rows, self._below)",
                "self._source.chunk(first, rows, None)",
            ),
            Patch(
                "verify/mending.py",
                "        elif self._lies_below(cursor):\n",
                "        elif True:\n",
            ),
        ),
        (f"{VERIFY}rows_above_the_watermark_are_no_differences",),
    ),
    Mutant(
        "held-rows-uncounted",
        "counting rows that wait in quarantine as known",
        (
            Patch(
                "store/record/effective.py",
                '        return " UNION ALL ".join(parts)',
                "        return parts[0]",
            ),
        ),
        (f"{VERIFY}a_store_that_is_what_the_source_says_is_verified",),
    ),
    Mutant(
        "chunks-uncounted",
        "counting the chunks of a first load before its watermark is stored",
        (Patch("backfill.py", "[*_without(request.window, done)]", "[][:0]"),),
        (f"{FIRST}nothing_is_promised_while_a_chunk_is_missing",),
    ),
    Mutant(
        "chunks-of-any-beginning",
        "the fence of a first load's chunks: those of an earlier bound count, too",
        (Patch("store/runs.py", "            table.c.fence == fence,\n"),),
        (f"{FIRST}chunks_of_an_earlier_beginning_do_not_count",),
    ),
    Mutant(
        "chunks-before-the-bound",
        "the order of a first load: the bound is the clock when all chunks were read",
        (
            Patch(
                "backfill.py",
                "store.touch(head)",
                "store.touch(replace(head, high=_now(head)))",
            ),
            Patch(
                "backfill.py",
                "def part(",
                "def _now(head):\n"
                "    from tidegate.store import ledger\n\n"
                "    return Watermark(ledger.now()[:26], head.high.column)\n\n\n"
                "def part(",
            ),
        ),
        (f"{FIRST}what_is_written_meanwhile_comes_with_the_next_increment[sqlite-to-sqlite]",),
    ),
)

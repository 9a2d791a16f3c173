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
    """A build *without* a safeguard; each of *tests* must fail on it."""

    name: str
    without: str
    patches: tuple[Patch, ...]
    tests: tuple[str, ...]


LOADING = "tests/store/test_loading.py::test_"
LEASES = "tests/store/test_leases.py::test_"
BOUNDS = "tests/sources/test_bounds.py::test_"
RULES = "tests/faults/test_safeguards.py::test_"

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
    "    after = increment.high.later(before.watermark) if increment.high else before.watermark\n",
    "    after = increment.high or before.watermark\n",
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
        (Patch("store/leases.py", "SET fence = fence + 1,", "SET fence = CASE WHEN lease_owner = "
               ":owner THEN fence ELSE fence + 1 END,"),),
        (f"{LEASES}a_run_that_tries_again_keeps_its_first_attempt_out",),
    ),
    Mutant(
        "renew-anyway",
        "the look at the fence when a lease is renewed",
        (Patch("store/leases.py", " WHERE name = :stream AND fence = :fence\"\n_RELEASE",
               " WHERE name = :stream AND (fence = :fence OR fence > 0)\"\n_RELEASE"),),
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
        (Patch("store/record/merge.py",
               "    WHEN (s._token, s._hash) < (c._token, c._hash) THEN 'stale'\n"),),
        (f"{LOADING}an_older_read_never_overwrites_a_newer_one",),
    ),
    Mutant(
        "no-ledger",
        "the look into the ledger: a load whose reply was lost is loaded again",
        (Patch("store/ledger.py", "    if row is None:\n        return None\n    return Report(",
               "    if row is None or True:\n        return None\n    return Report("),),
        (f"{RULES}a_load_that_is_repeated_changes_nothing",),
    ),
    Mutant(
        "watermark-apart",
        "one transaction for rows and watermark: the watermark is stored first",
        (Patch("store/loading.py", "            report = _commit(connection, todo, plan)\n",
               "            if todo.increment.request.mode.advances:\n"
               "                with database.begin() as apart:\n"
               "                    ledger.advance(apart, todo.increment)\n"
               "                todo = replace(todo, increment=replace(todo.increment, generation="
               "todo.increment.generation + 1))\n"
               "            report = _commit(connection, todo, plan)\n"),),
        (f"{RULES}a_crash_before_the_commit_leaves_rows_and_watermark",),
    ),
    Mutant(
        "after-the-watermark",
        "the watermark itself: reading begins after it, not at it",
        (Patch("sources/sql/reading.py", "            where.append(column >= self",
               "            where.append(column > self"),),
        (f"{BOUNDS}a_read_begins_at_the_watermark_itself",),
    ),
    Mutant(
        "bound-after-reading",
        "the order of pull: the bound is computed when everything was read",
        (
            Patch("path.py", "    faults.point(\"pull.read\")\n",
                  "    faults.point(\"pull.read\")\n"
                  "    seen = source.observe(store, state.memory)\n"),
        ),
        (f"{RULES}a_row_that_arrives_while_the_last_page_is_read_is_not_passed_over",),
    ),
    Mutant(
        "read-from-the-new-bound",
        "reading from the old watermark: it is read from the new bound on",
        (Patch("path.py", "    low = None if whole else _start(state.watermark, seen)\n",
               "    low = None if whole or state.watermark is None else seen.high\n"),),
        (f"{RULES}rows_between_the_old_watermark_and_the_new_one_are_read",),
    ),
)  # fmt: skip

"""A sample of the mutants at every run of the tests; ``make mutants`` tries them all."""

from __future__ import annotations

import ast

import pytest

import services
from faults import mutation
from faults.mutants import MUTANTS, Mutant, Patch

SAMPLE = ("no-fence", "no-order", "read-from-the-new-bound")


@pytest.fixture
def shared(
    postgres: services.Server, mariadb: services.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Child runs use the servers of this one."""
    for name, server in (("POSTGRES", postgres), ("MARIADB", mariadb)):
        monkeypatch.setenv(f"TIDEGATE_TEST_{name}", server.uri(server.admin))


@pytest.fixture
def sample() -> list[Mutant]:
    chosen = [mutant for mutant in MUTANTS if mutant.name in SAMPLE]
    assert len(chosen) == len(SAMPLE)
    return chosen


def test_every_mutant_fits_the_code_and_is_code() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert sorted(set(names)) == sorted(names)
    for mutant in MUTANTS:
        for file, text in mutation.patched(mutant).items():
            ast.parse(text, file)


@pytest.mark.usefixtures("shared")
def test_without_a_safeguard_the_tests_turn_red(sample: list[Mutant]) -> None:
    assert mutation.healthy(sample) == []
    verdicts = {mutant.name: mutation.judge(mutant) for mutant in sample}
    assert {name: verdict.why for name, verdict in verdicts.items() if not verdict.caught} == {}
    assert all(verdict.tests for verdict in verdicts.values())


def test_a_build_that_cannot_be_imported_or_does_not_matter_counts_as_not_caught() -> None:
    where = ("tests/test_hashing.py",)
    first = "from __future__ import annotations\n"
    broken = Patch("hashing.py", first, f"{first}import nothing_at_all\n")
    harmless = Patch("hashing.py", first, f"{first}# nothing\n")
    assert not mutation.judge(Mutant("broken", "", (broken,), where)).caught
    harmless_too = Mutant("harmless", "", (harmless,), where)
    assert "passed" in mutation.judge(harmless_too).why
    with pytest.raises(mutation.StaleMutantError, match="0 times, not once"):
        mutation.patched(Mutant("stale", "", (Patch("path.py", "never written", ""),), where))

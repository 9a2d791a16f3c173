"""Validation: Great Expectations over an increment; failing rows are held, failing tables stop it.

``suite``      expectations of one stream, run page by page or over the whole increment
``rule``       one expectation bound to declared columns: scope, exact arguments
``frames``     pages as data frames whose index is the row number, no value changed
``engine``     the only module that touches Great Expectations to evaluate
``messages``   what a person reads about a failing row or table
``docs``       stored suites, last results and Data Docs (no row values in any of them)
"""

from __future__ import annotations

from tidegate.validate.suite import Outcome, Suite

__all__ = ["Outcome", "Suite", "warm"]


def warm() -> None:
    """Import what validation needs, so that processes forked from this one start at once."""
    import scipy.stats  # noqa: F401  else whoever needs it would import it again

    from tidegate.validate import engine

    engine.load()

"""One look a second for all streams of a server: who looks first, looks for the others, too.

A look that is older than the read that follows it is safe, however old it is. It also is cheaper
for the server: several looks at once would keep each other's list of transactions stale.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tidegate.model import Json
from tidegate.sources import Shared
from tidegate.sources.rows.clocks import Clock
from tidegate.sources.sql.bounds import drain, starts
from tidegate.sources.sql.bounds.answer import Answer, Refusal, Safe
from tidegate.sources.sql.session import Session

OBSERVE_SECONDS = 1


def observe(session: Session, shared: Shared, *, anew: bool = False) -> Safe | Refusal:
    """How far the server is safe; *anew*: not as somebody else just saw it.

    Raises UnavailableError when the server does not answer.
    """
    side = {"mysql": drain, "postgres": starts}[session.endpoint.kind]
    name: str | Refusal = side.identify(session)
    if isinstance(name, Refusal):
        return name
    generation, known = shared.shared(name)
    if known and not anew and (seen := _still(session, _safe(known))):
        return seen
    answer: Answer | Refusal = side.look(session, name, known["kept"] if known else None)
    if isinstance(answer, Refusal):
        return answer
    if shared.share(name, generation, _json(answer)):
        return answer.safe
    return _safe(shared.shared(name)[1])


def _still(session: Session, seen: Safe) -> Safe | None:
    """What was just *seen*, with the clock as it is now; None: that is old, or was set back."""
    if not 0 <= seen.clock.age < OBSERVE_SECONDS:
        return None
    now = Clock.read(session.clock)
    return None if now.set_back(seen.clock) else replace(seen, clock=now)


def _safe(known: Json) -> Safe:
    moment = known["moment"]
    return Safe(
        Clock.from_json(known["clock"]),
        datetime.fromisoformat(moment) if moment else None,
        known["text"],
    )


def _json(answer: Answer) -> Json:
    safe = answer.safe
    return {
        "clock": safe.clock.to_json(),
        "moment": safe.moment.isoformat() if safe.moment else None,
        "text": safe.text,
        "kept": answer.kept,
    }

"""From one page to the next, and where that ends: or where it never would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tidegate.errors import ConfigError, RefusedError, UnavailableError
from tidegate.sources.rest.ask import Answer, Ask
from tidegate.sources.rest.options import ByCursor, ByLink, ByOffset, ByPage, OnePage, RestStream
from tidegate.sources.rest.session import Session
from tidegate.sources.web.templates import at

_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w*]+\s*=\s*(?:"[^"]*"|[^",;\s]+))*)')
_NEXT = re.compile(
    r';\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=[\s;]|$))', re.IGNORECASE
)


class Walk:
    """Through the pages of one list."""

    def __init__(self, session: Session, stream: RestStream, name: str) -> None:
        self._session = session
        self._stream = stream
        self._pages = stream.pages
        self._name = name
        self.last: Answer | None = None

    def begin(self, ask: Ask) -> Ask:
        """*ask* for the first page."""
        pages = self._pages
        if not isinstance(pages, OnePage) and pages.size_param:
            ask = ask.put(pages.size_param, pages.size)
        if isinstance(pages, ByPage):
            ask = ask.put(pages.param, pages.first)
        return ask

    def rows(self, ask: Ask) -> Iterator[list[Any]]:
        """The rows of each page. Raises ConfigError when there is no end to them."""
        stream, ask = self._stream, self.begin(ask)
        asked, before, taken = {_digest(ask)}, None, 0
        for number in range(stream.max_pages):
            beyond = {404} if number and isinstance(self._pages, ByPage) else ()
            self.last = answer = self._session.send(ask, beyond)
            self._require_whole(ask, answer)
            rows = self.listed(answer)
            if rows and rows == before and isinstance(self._pages, ByPage | ByOffset):
                raise self._endless(f"page {number + 1} is page {number} once more")
            yield rows
            before, taken = rows, taken + len(rows)
            following = self._following(ask, answer, number + 1, taken)
            if following is None or (not rows and isinstance(self._pages, ByPage | ByOffset)):
                return
            if (digest := _digest(following)) in asked:
                raise self._endless(f"page {number + 1} leads back to a page that was read")
            asked.add(digest)
            ask = following
        raise ConfigError(
            f"{self._name}: the list has more than {stream.max_pages:,} pages. Ask for larger "
            "ones (pages.size), or raise max_pages."
        )

    def listed(self, answer: Answer) -> list[Any]:
        """The rows in *answer*. Raises RefusedError when it tells an error, ConfigError without."""
        stream = self._stream
        if answer.status in {204, 205, 304, 404}:
            return []
        if stream.error_path and (told := at(answer.body, stream.error_path)):
            text = self._session.start(json.dumps(told, ensure_ascii=False, default=str))
            raise RefusedError(
                f"{self._name}: the server answers {answer.status} and tells an error: {text}. "
                "Do what it says."
            )
        found = answer.body if stream.rows is None else at(answer.body, stream.rows)
        if isinstance(found, list):
            return found
        where = "the answer" if stream.rows is None else f"rows: {stream.rows!r}"
        text = self._session.start(json.dumps(answer.body, ensure_ascii=False, default=str))
        raise ConfigError(
            f"{self._name}: {where} is not a list. The answer begins: {text}. Say with rows: where "
            "the list is; if this is an error, say with error_at: where such are told."
        )

    def _require_whole(self, ask: Ask, answer: Answer) -> None:
        """Raise when the answer says that it is not, or not all of, what was asked for."""
        if answer.status == 304 and not any(name.lower().startswith("if-") for name in ask.headers):
            raise UnavailableError(
                f"{self._name}: the server answers 304, not changed, and was not asked whether. Is "
                "a cache between that is out of order?"
            )
        goes_on = answer.status == 206 or next_link(answer.headers.get("link", ""))
        if goes_on and self._stream.complete and isinstance(self._pages, OnePage):
            raise ConfigError(
                f"{self._name}: pages: {{by: none}}, but the server says that there is more than "
                f"its first answer (HTTP {answer.status}). Say with pages: how to reach the next, "
                "like {by: link}; or complete: false, should the first be all that is wanted."
            )

    def _following(self, ask: Ask, answer: Answer, number: int, taken: int) -> Ask | None:
        pages = self._pages
        if isinstance(pages, ByPage):
            return ask.put(pages.param, pages.first + number)
        if isinstance(pages, ByOffset):
            return ask.put(pages.param, taken)
        if isinstance(pages, ByCursor):
            return self._by_cursor(pages, ask, answer)
        return self._by_link(pages, ask, answer) if isinstance(pages, ByLink) else None

    def _by_cursor(self, pages: ByCursor, ask: Ask, answer: Answer) -> Ask | None:
        if pages.more is not None and not at(answer.body, pages.more):
            return None
        header = (pages.header or "").lower()
        token = answer.headers.get(header) if pages.at is None else at(answer.body, pages.at)
        if token is None or token == "" or token is False:
            if pages.more is not None:
                raise ConfigError(f"{self._name}: there are more pages, and no token for the next. "
                                  "Check pages.at and pages.more.")  # fmt: skip
            return None
        if not isinstance(token, str | int):
            raise ConfigError(
                f"{self._name}: pages.at leads to {self._session.start(token)!r}: that is no token."
            )
        return ask.put(pages.param, token)

    def _by_link(self, pages: ByLink, ask: Ask, answer: Answer) -> Ask | None:
        if pages.at is None:
            link = next_link(answer.headers.get("link", ""))
        else:
            link = at(answer.body, pages.at)
        if not link:
            return None
        target = self._session.address.follow(answer.url, str(link))
        if target is None:
            raise ConfigError(
                f"{self._name}: the next page is elsewhere: {self._session.start(link)}. Only "
                f"{self._session.address.origin} is asked; name the other in a connection of its "
                "own, if it is right."
            )
        return ask.at(target)

    def _endless(self, what: str) -> ConfigError:
        return ConfigError(
            f"{self._name}: the list has no end: {what}. Does the server know the parameters that "
            "pages: names?"
        )


def next_link(header: str) -> str | None:
    """The target of ``rel=next`` in a Link header (RFC 8288)."""
    for match in _LINK.finditer(header):
        if _NEXT.search(match[2]):
            return match[1]
    return None


def _digest(ask: Ask) -> int:
    return hash((ask.url, tuple(sorted(ask.params.items())), repr(ask.body)))

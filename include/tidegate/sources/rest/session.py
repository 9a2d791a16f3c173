"""One request: pace, patience, sizes. Whatever goes wrong becomes an error of ours here.

============================  ===================================================================
429, 503, 403 with            waits as long as Retry-After says; beyond 15 minutes, or the task's
Retry-After                   time, the run fails and is retried
5xx, 408, 425, 429, silence,  waits that grow, until patience ends; then the run fails and is
lost and cut-off answers      retried
401                           a token is renewed, once; else refused
403                           refused
redirect                      followed within the same protocol, host and port; else an error
other 4xx, no JSON            an error of the pipeline file, with the beginning of the answer
HEAD                          asked for its Date only: whatever else it says, an answer with one
                              will do, unless it has a Retry-After
============================  ===================================================================
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic, sleep

import httpx

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.fields import seconds
from tidegate.sources.rest.ask import Answer, Ask, moment
from tidegate.sources.rest.options import RestStream, interval
from tidegate.sources.rest.tokens import Tokens
from tidegate.sources.rest.transport import MEGABYTE, Transport
from tidegate.sources.rows import jsontext
from tidegate.sources.web.address import Address, address
from tidegate.sources.web.backoff import Backoff
from tidegate.sources.web.credentials import credentials

LONGEST_REST = 900.0
REDIRECTS = 5
_AGAIN = {408, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529}
_JSON = {"", "text/plain", "text/javascript", "application/javascript", "application/octet-stream"}
_BODYLESS = {204, 205, 304}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What may pass. *after*: seconds that the server wants to be left alone."""

    what: str
    after: float | None = None


class Session:
    """Asks one server; errors begin with *name*."""

    def __init__(self, endpoint: Endpoint, stream: RestStream, name: str) -> None:
        self.address = address(endpoint, "http", "https")
        self._where = f"{name}: {self.address.place}"
        self._credentials = credentials(endpoint)
        self._transport = Transport(
            endpoint, seconds(stream.request_timeout), stream.max_megabytes * MEGABYTE, self._where
        )
        self._tokens = (
            Tokens(self._credentials.oauth, self._where, self._post)
            if self._credentials.oauth
            else None
        )
        self._interval = interval(stream.rate) if stream.rate else 0.0
        self._next = 0.0
        self._backoff = Backoff(seconds(stream.patience))
        self._ends = monotonic() + seconds(stream.execution_timeout)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def start(self, text: object) -> str:
        """The beginning of *text* for a message, without secrets."""
        return self._credentials.start(text, self._tokens.current if self._tokens else "")

    def send(self, ask: Ask, accept: Container[int] = ()) -> Answer:
        """The answer to *ask*: one of success, 304, or of the statuses to *accept*."""
        renewed = self._tokens is None
        while True:
            answer = self._persist(ask, self.address, sign=True)
            if answer.status == 401 and self._tokens and not renewed:
                self._tokens.forget()
                renewed = True
                continue
            if answer.status < 300 or answer.status == 304 or answer.status in accept:
                return answer
            raise self._refusal(answer, ask)

    def _post(self, url: str, form: bytes, headers: dict[str, str]) -> Answer:
        """A form to the token server, which the connection names."""
        there = address(replace(self._credentials.endpoint, host=url, port=None, database=None,
                                options={**self._credentials.endpoint.options, "path": ""}),
                        "http", "https")  # fmt: skip
        return self._persist(Ask("POST", url, headers=headers, form=form), there, sign=False)

    def _persist(self, ask: Ask, there: Address, *, sign: bool) -> Answer:
        """Ask until there is an answer, or patience ends."""
        while True:
            began = monotonic()
            found = self._try(ask, there, sign=sign)
            if isinstance(found, Answer):
                self._backoff.succeeded()
                return found
            if found.after is not None:
                self._rest(found)
            elif not self._backoff.failed(monotonic() - began):
                raise UnavailableError(f"{self._where} does not answer as it should: {found.what}.")

    def _rest(self, trouble: Trouble) -> None:
        wait = max(trouble.after or 0.0, 1.0)
        if wait > LONGEST_REST or monotonic() + wait > self._ends:
            raise UnavailableError(
                f"{self._where} wants to be left alone for {wait:,.0f} s: {trouble.what}. The run "
                "does not wait so long; a later one goes on. Is 'rate:' too high?"
            )
        sleep(wait)

    def _pace(self) -> None:
        now = monotonic()
        sleep(max(0.0, self._next - now))
        self._next = max(self._next, now) + self._interval

    def _try(self, ask: Ask, there: Address, *, sign: bool) -> Answer | Trouble:
        """One attempt, redirects within *there* followed."""
        for _ in range(REDIRECTS):
            self._pace()
            try:
                answer = self._transport.fetch(*self._signed(ask, there, sign=sign))
            except httpx.TransportError as error:
                return self._lost(error)
            except httpx.DecodingError as error:
                return Trouble(str(error))
            dated = ask.method == "HEAD" and answer.date is not None and _after(answer) is None
            if dated or answer.status not in {301, 302, 303, 307, 308}:
                return answer if dated else self._read(answer, ask)
            ask = self._redirected(ask, answer, there)
        raise ConfigError(f"{self._where}: more than {REDIRECTS} redirects. Ask for the last one.")

    def _signed(
        self, ask: Ask, there: Address, *, sign: bool
    ) -> tuple[Ask, Address, dict[str, str]]:
        headers = dict(ask.headers)
        if ask.body is not None:
            headers["Content-Type"] = "application/json"
        if not sign:
            return ask, there, headers
        headers |= self._credentials.headers
        if self._tokens:
            headers["Authorization"] = f"Bearer {self._tokens.token()}"
        return replace(ask, params={**ask.params, **self._credentials.params}), there, headers

    def _redirected(self, ask: Ask, answer: Answer, there: Address) -> Ask:
        said = answer.headers.get("location", "")
        target = there.follow(ask.url, said) if said else None
        if target is None or ask.method == "POST":
            raise ConfigError(
                f"{self._where} redirects {ask.method} to another place (HTTP {answer.status}): "
                f"{self.start(said or '(nowhere)')}. Secrets are not taken "
                "elsewhere: name that place in the connection, if it is right."
            )
        return ask.at(target) if "?" in target else replace(ask, url=target)

    def _lost(self, error: httpx.TransportError) -> Trouble:
        text = self.start(str(error) or type(error).__name__)
        if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            raise ConfigError(f"{self._where}: the request cannot be sent: {text}") from None
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise RefusedError(
                f"{self._where}: no trusted TLS connection: {text}. Give ssl_ca in the "
                "connection's extra fields, or insecure: true to do without."
            ) from None
        return Trouble(text)

    def _read(self, answer: Answer, ask: Ask) -> Answer | Trouble:
        """The answer with its JSON read; or what may pass."""
        status = answer.status
        after = _after(answer)
        if status == 501 and ask.method == "HEAD":
            return answer
        if status in _AGAIN or status >= 500 or (status == 403 and after is not None):
            said = self.start(answer.text.decode("utf-8", "replace"))
            return Trouble(f"HTTP {status} {said}".rstrip(), after)
        if status >= 300 or status in _BODYLESS or ask.method == "HEAD":
            return answer
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if "json" not in kind and kind not in _JSON:
            raise ConfigError(
                f"{self._where}: {ask.method} {_path(answer)} answers {kind}, not JSON: "
                f"{self.start(answer.text.decode('utf-8', 'replace'))!r}. Check the path."
            )
        try:
            return replace(answer, body=jsontext.loads(answer.text), text=b"")
        except ValueError as error:
            return Trouble(f"an answer that is not whole JSON ({self.start(error)})")

    def _refusal(self, answer: Answer, ask: Ask) -> TidegateError:
        said = self.start(answer.text.decode("utf-8", "replace"))
        text = f"{self._where}: {ask.method} {_path(answer)}: HTTP {answer.status}: {said!r}."
        if answer.status in {401, 403, 407}:
            return RefusedError(f"{text} Check the connection's login, password and extra fields.")
        return ConfigError(f"{text} Check 'request:' and the parameters.")


def _path(answer: Answer) -> str:
    return httpx.URL(answer.url).path


def _after(answer: Answer) -> float | None:
    """What Retry-After says, in seconds; None: nothing, or where it means nothing."""
    said = answer.headers.get("retry-after", "").strip()
    if answer.status not in {403, 429, 503} or not said:
        return None
    if said.isdecimal():
        return float(said[:9])
    then = moment(said)
    return max((then - (answer.date or datetime.now(UTC))).total_seconds(), 0.0) if then else None

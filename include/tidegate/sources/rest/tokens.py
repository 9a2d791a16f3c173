"""OAuth 2 client credentials: a token is asked for, kept while it is good, and renewed once."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from time import monotonic
from urllib.parse import quote_plus, urlencode

from tidegate.errors import RefusedError
from tidegate.sources.rest.ask import Answer
from tidegate.sources.web.credentials import OAuth
from tidegate.sources.web.templates import at

MARGIN = 30.0
"""A token is renewed so many seconds before it ends."""


class Tokens:
    """*post* sends a form with headers and gives the answer; it retries what is worth it."""

    def __init__(
        self, oauth: OAuth, where: str, post: Callable[[str, bytes, dict[str, str]], Answer]
    ) -> None:
        self._oauth = oauth
        self._where = where
        self._post = post
        self._until = 0.0
        self.current = ""

    def token(self) -> str:
        """One that is good now. Raises RefusedError when none is given."""
        if not self.current or monotonic() > self._until:
            self._renew()
        return self.current

    def forget(self) -> None:
        """The server does not take it any more."""
        self.current = ""

    def _renew(self) -> None:
        oauth = self._oauth
        form = {"grant_type": "client_credentials", **oauth.form}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if oauth.in_body:
            form |= {"client_id": oauth.client, "client_secret": oauth.secret}
        else:  # both parts are form-encoded first (RFC 6749, 2.3.1)
            pair = f"{quote_plus(oauth.client)}:{quote_plus(oauth.secret)}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        answer = self._post(oauth.url, urlencode(form).encode(), headers)
        token, seconds = at(answer.body, "access_token"), at(answer.body, "expires_in")
        if not isinstance(token, str) or not token:
            raise RefusedError(
                f"{self._where}: the token server gives no access_token (HTTP {answer.status}). "
                "Check the connection's login, password, token_url and scope."
            )
        self.current = token
        lasts = float(seconds) if isinstance(seconds, int) else 3600.0
        self._until = monotonic() + max(lasts - MARGIN, lasts / 2)

"""One connection to a broker; its driver's errors end here."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from tidegate import connections
from tidegate.connections import Endpoint
from tidegate.errors import (
    ConfigError,
    DataError,
    RefusedError,
    TidegateError,
    UnavailableError,
)

SECONDS = 10
_NO = (AuthenticationError, ProbableAccessDeniedError, ProbableAuthenticationError)
# It says in errors of its own, with a traceback, what we say in words; and below that, frames.
logging.getLogger("pika").setLevel(logging.CRITICAL)


@contextmanager
def connected(endpoint: Endpoint, name: str, queue: str) -> Iterator[BlockingConnection]:
    """A connection, closed in the end: then the broker has seen what was acknowledged.

    Raises UnavailableError, RefusedError, ConfigError, DataError; what is not the driver's passes.
    """
    where = f"{name}: queue {queue!r} of connection {endpoint.name!r} ({_address(endpoint)})"
    parameters = _parameters(endpoint)
    try:
        connection = BlockingConnection(parameters)
    except (AMQPError, AMQPConnectorException, OSError) as error:
        if untrusted := _untrusted(error, where, endpoint):
            raise untrusted from None
        raise _translated(error, where, endpoint) from None
    try:
        yield connection
    except AMQPError as error:
        raise _translated(error, where, endpoint) from None
    finally:
        with suppress(AMQPError):
            connection.close()


def state(channel: BlockingChannel, queue: str) -> tuple[int, int]:
    """Messages that wait, and consumers; it changes nothing. The queue must be there.

    What the broker had sent on *channel* before is here when this returns.
    """
    found = channel.queue_declare(queue, passive=True).method
    return found.message_count, found.consumer_count


def refuses(error: ChannelClosedByBroker, code: int, word: str) -> bool:
    """Whether the broker closed the channel for this reason."""
    return bool(error.reply_code == code and word in error.reply_text)


def _translated(error: Exception, where: str, endpoint: Endpoint) -> TidegateError:
    text = " ".join(endpoint.scrub(f"{error!r}").split())
    if isinstance(error, ChannelClosedByBroker):
        if refuses(error, 404, "no queue"):
            return ConfigError(
                f"{where}: there is no such queue. Declare it on the broker, or correct 'queue:' "
                "or the connection's schema, which is the virtual host."
            )
        if error.reply_code in {403, 405, 406}:
            return RefusedError(f"{where}: the broker refused: {text}. Check the user's rights.")
    if isinstance(error, _NO):
        return RefusedError(
            f"{where}: the broker refused the user {endpoint.user!r}: {text}. Check the "
            "connection's user and password, and its schema, which is the virtual host."
        )
    if isinstance(error, StreamLostError) and re.search(r"(Value|Overflow)Error\(", text):
        return DataError(
            f"{where}: a message that waits has a header that is out of range, such as a timestamp "
            f"in milliseconds: {text}. The driver cannot read it, nor what is behind it. Remove "
            "that message from the queue, and mend its sender."
        )
    return UnavailableError(f"{where}: the broker does not answer: {text}")


def _untrusted(error: Exception, where: str, endpoint: Endpoint) -> RefusedError | None:
    """What a handshake of TLS that failed while connecting means; a line may drop in it, too."""
    text = " ".join(endpoint.scrub(f"{error!r}").split())
    if "SSL" not in text or "SSLEOFError" in text:
        return None
    return RefusedError(
        f"{where}: no trusted TLS connection: {text}. TLS has a port of its own, mostly 5671. "
        "Give ssl_ca in the connection's extra fields, or insecure: true to do without."
    )


def _address(endpoint: Endpoint) -> str:
    return f"{endpoint.host or 'localhost'}{endpoint.database or '/'}"


def _parameters(endpoint: Endpoint) -> pika.ConnectionParameters:
    tls = connections.tls(endpoint, always=endpoint.kind == "amqps")
    host = endpoint.host or "localhost"
    return pika.ConnectionParameters(
        host=host,
        port=endpoint.port or (5671 if tls else 5672),
        virtual_host=endpoint.database or "/",
        credentials=pika.PlainCredentials(endpoint.user or "guest", endpoint.password or "guest"),
        ssl_options=pika.SSLOptions(tls, host) if tls else None,
        socket_timeout=SECONDS,
        stack_timeout=1.5 * SECONDS,
        blocked_connection_timeout=6 * SECONDS,
        client_properties={"connection_name": "tidegate"},
    )

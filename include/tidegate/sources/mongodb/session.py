"""One client of one database: opened when needed, it only reads; its driver's errors end here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

CONNECT_SECONDS = 5
_PORT = 27017
_PASSED = {
    name.lower(): name
    for name in ("authSource", "authMechanism", "replicaSet", "directConnection", "tlsCAFile",
                 "tlsCertificateKeyFile", "tlsCertificateKeyFilePassword", "srvServiceName")
}  # fmt: skip
"""Extra fields that are pymongo's own; their case does not matter."""
_SAME = {"ssl_ca": "tlsCAFile", "ssl_cert": "tlsCertificateKeyFile"}
_WRONG_USER = frozenset({13, 18, 8000})
_LATER = frozenset({
    6, 7, 43, 64, 89, 91, 133, 134, 175, 189, 202, 262, 9001, 10107, 11600, 11602, 13388, 13435,
    13436,
})  # fmt: skip
"""Elections, restarts, lost cursors and members that lag: what a retry may find mended."""
_TOO_LONG = 50
WRITING: Mapping[str, Any] = {
    "$match": {
        "$or": [
            {"transaction": {"$exists": True}}, {"op": {"$nin": ["query", "getmore", "none"]}},
        ]
    }
}  # fmt: skip
"""Entries of ``$currentOp`` that may write; a transaction that reads just now may write later."""


class Session:
    """Reads one database. Majority reads on the primary; nothing it sees is ever rolled back."""

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self._client: MongoClient[dict[str, Any]] | None = None
        self._causal: ClientSession | None = None

    @property
    def database(self) -> Database[dict[str, Any]]:
        """The connection's database. Raises ConfigError when it names none."""
        if not self.endpoint.database:
            raise ConfigError(
                f"{self.endpoint.name}: the connection names no database. Write it into the "
                "connection's field schema."
            )
        return self._open().get_database(
            self.endpoint.database, read_concern=ReadConcern("majority")
        )

    def find(self, collection: str, where: Mapping[str, Any], **more: Any) -> list[bytes]:
        """The documents, in octets, of one query that may not take longer than the timeout."""
        with self.translated():
            batches = self._cursor(collection, where, **more)
            return [document for batch in batches for document in _documents(batch)]

    def stream(
        self, collection: str, where: Mapping[str, Any], rows: int, **more: Any
    ) -> Iterator[list[bytes]]:
        """The same, at most *rows* at a time, in no order; all of it within the timeout."""
        with self.translated():
            for batch in self._cursor(collection, where, batch_size=rows, **more):
                yield _documents(batch)

    def count(self, collection: str, where: Mapping[str, Any]) -> int:
        """How many there are."""
        with self.translated():
            place = self.database[collection]
            return place.count_documents(where, session=self._session(), maxTimeMS=self._limit)

    def command(self, name: str) -> dict[str, Any]:
        """The answer of a command without arguments that everybody may give."""
        with self.translated():
            return self._open().admin.command(name, session=self._session())

    def operations(self) -> list[dict[str, Any]]:
        """What the server does just now. Raises RefusedError when the user may not see it."""
        stages = [{"$currentOp": {"allUsers": True, "idleSessions": True}}, WRITING]
        with self.translated():
            return list(self._open().admin.aggregate(stages, session=self._session()))

    def clock(self) -> datetime:
        """What time the server thinks it is."""
        told = self.command("hello").get("localTime")
        if told is None:
            with self.translated():
                told = next(self.database.aggregate([{"$documents": [{"now": "$$NOW"}]}]))["now"]
        moment: datetime = told
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def collections(self) -> dict[str, str]:
        """Collections and views by name, with ``collection`` or ``view``."""
        with self.translated():
            found = self.database.list_collections(authorizedCollections=True, nameOnly=True)
            return {each["name"]: each.get("type", "collection") for each in found}

    def indexes(self, collection: str) -> list[dict[str, Any]]:
        """Those of a collection."""
        with self.translated():
            return [dict(each) for each in self.database[collection].list_indexes()]

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
        self._client = self._causal = None

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's error into one of ours; its text is scrubbed, its chain is cut."""
        try:
            yield
        except TidegateError:
            raise
        except (PyMongoError, OSError) as error:
            raise self._ours(error) from None

    def _cursor(
        self,
        collection: str,
        where: Mapping[str, Any],
        *,
        sort: Sequence[tuple[str, int]] = (),
        limit: int = 0,
        batch_size: int = 0,
        fields: Sequence[str] = (),
    ) -> Any:
        return self.database[collection].find_raw_batches(
            where,
            dict.fromkeys(fields, 1) or None,
            sort=list(sort) or None,
            limit=limit,
            batch_size=batch_size or limit,
            max_time_ms=self._limit,
            session=self._session(),
        )

    @property
    def _limit(self) -> int:
        return max(1, int(self.timeout * 1000))

    def _session(self) -> ClientSession | None:
        """On replica sets, one in which each read waits for all that was written before it.

        A majority read alone may lag behind the moment at which its bound was computed.
        """
        self._open()
        return self._causal

    def _open(self) -> MongoClient[dict[str, Any]]:
        if self._client is None:
            with self.translated():
                self._client = MongoClient(**arguments(self.endpoint, self.timeout))
                hello = self._client.admin.command("hello")
                if "setName" in hello or hello.get("msg") == "isdbgrid":
                    self._causal = self._client.start_session(causal_consistency=True)
        return self._client

    def _ours(self, error: Exception) -> TidegateError:
        where = f"{self.endpoint.name}: MongoDB at {place(self.endpoint)}"
        code = error.code if isinstance(error, OperationFailure) else None
        text = self.endpoint.scrub(error).split(", full error:")[0][:500]
        if code == _TOO_LONG:
            return UnavailableError(
                f"{where}: a query took longer than statement_timeout, {self.timeout:g} s. "
                "Try again when it is less busy, or raise statement_timeout."
            )
        if code in _WRONG_USER:
            return RefusedError(f"{where} refused the user {self.endpoint.user!r}: {text}")
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return RefusedError(
                f"{where}: its certificate is not trusted: {text}. Give the authority's "
                "certificate in the extra field tlsCAFile."
            )
        if isinstance(error, CursorNotFound | ConnectionFailure | OSError) or code in _LATER:
            return UnavailableError(f"{where} does not answer: {text}")
        if isinstance(error, ConfigurationError | InvalidURI):
            return ConfigError(f"{where}: the connection cannot be used: {text}")
        return RefusedError(f"{where} says no: {text}")


def arguments(endpoint: Endpoint, timeout: float) -> dict[str, Any]:
    """What the client is made with: verified TLS for other hosts, unless ``insecure``."""
    options = {_SAME.get(key, key).lower(): value for key, value in endpoint.options.items()}
    insecure, srv = (_yes(options.get(name)) for name in ("insecure", "srv"))
    made: dict[str, Any] = {
        "host": f"mongodb{'+srv' if srv else ''}://{_hosts(endpoint, srv=srv)}",
        "appname": "tidegate",
        "tz_aware": True,
        "connectTimeoutMS": CONNECT_SECONDS * 1000,
        "serverSelectionTimeoutMS": CONNECT_SECONDS * 1000,
        "socketTimeoutMS": int((timeout + CONNECT_SECONDS) * 1000),
        "tls": not insecure and (not _local(endpoint) or "tlscafile" in options),
    }
    made |= {_PASSED[name]: value for name, value in options.items() if name in _PASSED}
    if "directConnection" in made:
        made["directConnection"] = _yes(made["directConnection"])
    if endpoint.user:
        made |= {"username": endpoint.user, "password": endpoint.password or ""}
        made.setdefault("authSource", "$external" if _external(made) else "admin")
    if not made["tls"]:
        made = {name: value for name, value in made.items() if not name.startswith("tlsC")}
    return made


def _documents(batch: bytes) -> list[bytes]:
    """Each begins with its length."""
    found, at = [], 0
    while at < len(batch):
        begin, at = at, at + int.from_bytes(batch[at : at + 4], "little")
        found.append(batch[begin:at])
    return found


def place(endpoint: Endpoint) -> str:
    """``db:27017``, ``a,b,c`` or a socket's path, for a person."""
    return str(endpoint.options.get("unix_socket") or _listed(endpoint))


def _hosts(endpoint: Endpoint, *, srv: bool) -> str:
    if srv:
        return endpoint.host or ""
    socket = endpoint.options.get("unix_socket") or endpoint.host or ""
    return quote(str(socket), safe="") if str(socket).startswith("/") else _listed(endpoint)


def _listed(endpoint: Endpoint) -> str:
    hosts = [host.strip() for host in (endpoint.host or "localhost").split(",")]
    port = endpoint.port or _PORT
    return ",".join(host if _has_port(host) else f"{host}:{port}" for host in hosts if host)


def _has_port(host: str) -> bool:
    return host.startswith("/") or host.rpartition(":")[2].isdecimal()


def _local(endpoint: Endpoint) -> bool:
    """Whether all traffic stays on this machine."""
    hosts = [host.strip().rpartition(":")[0] or host for host in (endpoint.host or "").split(",")]
    near = {"", "localhost", "127.0.0.1", "[::1]"}
    return endpoint.is_local or all(host.strip() in near for host in hosts)


def _external(made: Mapping[str, Any]) -> bool:
    return str(made.get("authMechanism", "")).upper() in {"MONGODB-X509", "GSSAPI", "MONGODB-AWS"}


def _yes(value: Any) -> bool:
    return str(value or "").lower() in {"1", "true", "yes"}

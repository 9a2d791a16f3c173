"""Where a connection leads: one protocol, one host, one port. Nothing else is ever asked.

An answer may name other places (the next page, a redirect); a host's name may suddenly mean the
address of the machine's own metadata service. Both are ways to make a server ask for what only it
can reach (server-side request forgery, OWASP A10:2021), so both are refused.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urljoin, urlsplit

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError

PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_METADATA = {
    ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
}
"""Where clouds answer their own machines, beside the link-local 169.254.169.254."""


@dataclass(frozen=True, slots=True)
class Address:
    """*scheme* is ``http``, ``https``, ``ws`` or ``wss``; *path* begins all paths, or is empty."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """``https://api.example.com``; the port where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == PORTS[self.scheme]
        return f"{self.scheme}://{host}" if usual else f"{self.scheme}://{host}:{self.port}"

    @property
    def secure(self) -> bool:
        """Whether it is reached by TLS."""
        return self.scheme in {"https", "wss"}

    def url(self, path: str) -> str:
        """The address of *path*, which lies below the connection's own."""
        return f"{self.origin}{self.path}/{path.lstrip('/')}".removesuffix("/" if not path else "")

    def follow(self, url: str, link: str) -> str | None:
        """Where *link*, found at *url*, leads; None: to another origin, or nowhere."""
        try:
            target = urljoin(url, link)
            parts = urlsplit(target)
            port = parts.port or PORTS.get(parts.scheme)
        except ValueError:
            return None
        same = (parts.scheme, (parts.hostname or "").lower(), port)
        if same != (self.scheme, self.host.lower(), self.port) or "@" in parts.netloc:
            return None
        return target.partition("#")[0]

    def admit(self, where: str, ip: str) -> None:
        """Raise RefusedError when *ip*, to which the host's name led, is nobody's server."""
        address = ip_address(ip.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if _forbidden(address) and not _names(self.host, address):
            raise RefusedError(
                f"{where}: the name {self.host!r} leads to {ip}, an address at which a machine "
                "answers only itself (link-local or metadata). Should that be meant, write the "
                "address itself as the connection's host."
            )


def _forbidden(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in _METADATA
    )


def _names(host: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return ip_address(host) == address
    except ValueError:
        return False


def address(endpoint: Endpoint, plain: str, secure: str) -> Address:
    """That of a connection; *plain* and *secure* are the two protocols it may have.

    The host may be written with its protocol and a path, as Airflow allows; ``schema`` is a
    protocol, too, or a path. Raises ConfigError.
    """
    where = f"connection {endpoint.name!r}"
    host, schema = endpoint.host or "", endpoint.database or ""
    try:
        parts = urlsplit(host if "://" in host else f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        parts, name, port = urlsplit(""), None, None
    if not name or parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(
            f"{where}: its host {endpoint.scrub(host)[:80]!r} is none. Write api.example.com, or "
            f"{secure}://api.example.com/v1; user and password have fields of their own."
        )
    said = schema.lower() if schema.lower() in {plain, secure} else ""
    scheme = parts.scheme or said or (endpoint.kind if endpoint.kind in PORTS else plain)
    if scheme not in {plain, secure}:
        raise ConfigError(f"{where}: {scheme!r} is no protocol here. Write {secure} or {plain}.")
    base = str(endpoint.options.get("path") or ("" if said else schema))
    found = Address(
        scheme,
        name,
        endpoint.port or port or PORTS[scheme],
        "".join(f"/{part}" for part in f"{parts.path}/{base}".split("/") if part),
    )
    _require_secure(endpoint, found, where, secure)
    return found


def _require_secure(endpoint: Endpoint, found: Address, where: str, secure: str) -> None:
    """Passwords and rows do not cross a network in the clear, unless somebody wants it."""
    local = found.host in {"localhost", "127.0.0.1", "::1"}
    if not found.secure and not local and not insecure(endpoint):
        raise ConfigError(
            f"{where}: {found.scheme} would send everything to {found.host} in the clear. Write "
            f"{secure} as its schema, or insecure: true into its extra fields."
        )


def insecure(endpoint: Endpoint) -> bool:
    """Whether the connection wants to do without trusted TLS."""
    return str(endpoint.options.get("insecure", "")).lower() in {"1", "true", "yes"}


def trust(endpoint: Endpoint) -> ssl.SSLContext:
    """Whom to trust: the system's authorities, or ``ssl_ca``; nobody is asked when ``insecure``."""
    authority = endpoint.options.get("ssl_ca")
    try:
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"connection {endpoint.name!r}: its certificates cannot be read: {error}. Check ssl_ca."
        ) from None
    if insecure(endpoint):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

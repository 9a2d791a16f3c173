"""From Airflow's forms of a connection to an endpoint; and no secret in any text."""

from __future__ import annotations

import json
import traceback
from base64 import b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.connections import Endpoint, from_environment, parse
from tidegate.errors import ConfigError, UndefinedConnectionError

HARD = "p@ss/W0rd+x!y %:z?#[ä🔑]&=\\\"'"


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        (
            "mysql://ann:secret@db.example:3307/shop",
            Endpoint("x", "mysql", "db.example", 3307, "ann", "secret", "shop"),
        ),
        ("mariadb://db.example", Endpoint("x", "mysql", "db.example")),
        ("postgresql://db.example/shop", Endpoint("x", "postgres", "db.example", database="shop")),
        (
            "postgresql+psycopg2://ann@h/s",
            Endpoint("x", "postgres", "h", user="ann", database="s"),
        ),
        ("POSTGRES://h", Endpoint("x", "postgres", "h")),
        ("sqlite:////data/my%20shop.db", Endpoint("x", "sqlite", database="/data/my shop.db")),
        (
            "mysql://ann@localhost/shop?unix_socket=%2Frun%2Fdb.sock&empty=",
            Endpoint("x", "mysql", "localhost", None, "ann", None, "shop",
                     {"unix_socket": "/run/db.sock", "empty": ""}),
        ),
        (
            "postgres://h/s?__extra__=%7B%22sslmode%22%3A+%22require%22%2C+%22n%22%3A+1%7D",
            Endpoint("x", "postgres", "h", database="s", options={"sslmode": "require", "n": 1}),
        ),
        ("postgres://%2Frun%2Fpg/s", Endpoint("x", "postgres", "/run/pg", database="s")),
        ("mysql://[::1]:3306/s", Endpoint("x", "mysql", "::1", 3306, database="s")),
    ],
)  # fmt: skip
def test_a_uri_of_airflow_is_read(uri: str, wanted: Endpoint) -> None:
    assert parse("x", uri) == wanted


@pytest.mark.parametrize("extra", [{"ssl_ca": "/ca.pem"}, '{"ssl_ca": "/ca.pem"}'])
def test_a_connection_in_json_is_read(extra: Any) -> None:
    fields = {"conn_type": "mysql", "host": "h", "port": "3306", "login": "ann", "password": HARD,
              "schema": "shop", "extra": extra}  # fmt: skip
    assert parse("x", json.dumps(fields)) == Endpoint(
        "x", "mysql", "h", 3306, "ann", HARD, "shop", {"ssl_ca": "/ca.pem"}
    )
    assert parse("x", '{"conn_type": "postgres", "extra": null}') == Endpoint("x", "postgres")


@settings(deadline=None)
@given(user=st.text(min_size=1), password=st.text(min_size=1), database=st.text(min_size=1))
def test_any_user_password_and_database_survives_the_uri(
    user: str, password: str, database: str
) -> None:
    parts = [quote(text.encode("utf-8", "replace"), safe="") for text in (user, password, database)]
    found = parse("x", f"mysql://{parts[0]}:{parts[1]}@h:1/{parts[2]}")
    wanted = [text.encode("utf-8", "replace").decode() for text in (user, password, database)]
    assert [found.user, found.password, found.database] == wanted
    url = found.url
    assert [url.username, url.password, url.database] == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://u:s3cr[et@h/db", "its URI cannot be read"),
        ("mysql://u:s3cret\u2100x@h/db", "its URI cannot be read"),
        ("mysql://u:s3cret/x@h/db", "its URI cannot be read"),
        ("mysql://u:s3cret@h:99999/db", "its URI cannot be read"),
        ("u:s3cret@h", "its URI cannot be read"),
        ('{"password": "s3cret", ', "its JSON text cannot be read"),
        ('{"password": "s3cret"}', "it has no type"),
        ('{"conn_type": null, "password": "s3cret"}', "it has no type"),
        ('{"conn_type": "mysql", "extra": "s3cret"}', "its extra fields cannot be read"),
        ('{"conn_type": "mysql", "password": "s3cret", "port": "many"}', "port 'many' is not"),
        ('{"conn_type": "mysql", "password": "s3cret", "port": -1}', "port -1 is not a number"),
        ("mysql://u:s3cret@h/db?__extra__=s3cret", "its extra fields cannot be read"),
        ("sqlite://", "no file given. Write sqlite:////absolute/path.db"),
    ],
)
def test_what_cannot_be_read_is_refused_without_repeating_it(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse("shop_db", text)
    assert str(error.value).startswith("connection 'shop_db': ")
    assert message in str(error.value)
    told = "".join(traceback.format_exception(error.value, chain=True))
    told = "\n".join(line for line in told.splitlines() if "parse(" not in line)
    assert "s3cr" not in told


def test_the_environment_is_asked_by_airflows_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", "mysql://ann:secret@h/s")
    assert from_environment("shop_db").user == "ann"
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", "")
    with pytest.raises(UndefinedConnectionError, match="set AIRFLOW_CONN_SHOP_DB, for example"):
        from_environment("shop_db")


def endpoint(password: str, **options: Any) -> Endpoint:
    return Endpoint("x", "mysql", "h", 3306, "ann", password, "shop", options)


def test_an_endpoint_shows_no_secret() -> None:
    hidden = endpoint(HARD, ssl_key_password="other-secret", token="t0ken")
    for text in (repr(hidden), str(hidden), f"{hidden}", repr(hidden.url), str(hidden.url)):
        assert not any(word in text for word in (HARD, quote(HARD), "other-secret", "t0ken"))
    assert "***" in hidden.url.render_as_string()
    assert replace(hidden, name="y").password == HARD


@pytest.mark.parametrize("password", [HARD, "a'b", 'a"b', "a\\b", "a\nb", "a+b c", "päß", "abc"])
def test_scrubbing_takes_out_every_spelling(password: str) -> None:
    spellings = [
        password, quote(password), quote(password, safe=""), quote_plus(password),
        quote(password, safe=" +"), repr(password)[1:-1], json.dumps(password)[1:-1],
        json.dumps(password, ensure_ascii=False)[1:-1], b64encode(password.encode()).decode(),
        endpoint(password).url.render_as_string(hide_password=False).split(":")[2].split("@")[0],
    ]  # fmt: skip
    for spelling in spellings:
        assert endpoint(password).scrub(f"before {spelling} after") == "before *** after"
        assert endpoint("", secret_token=password).scrub(spelling) == "***"


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="*"))


@settings(deadline=None)
@given(PLAIN.filter(lambda text: len(text) >= 3), PLAIN, PLAIN)
def test_no_secret_is_left_in_scrubbed_text(secret: str, before: str, after: str) -> None:
    scrubbed = endpoint(secret).scrub(before + secret + after + secret)
    assert secret not in scrubbed
    assert "***" in scrubbed


def test_scrubbing_leaves_text_alone_when_there_is_no_secret() -> None:
    assert endpoint("").scrub("nothing to hide") == "nothing to hide"


@pytest.mark.parametrize(
    ("place", "local"),
    [
        ({"host": "localhost"}, True),
        ({"host": "127.0.0.1"}, True),
        ({"host": "::1"}, True),
        ({"host": None}, True),
        ({"host": "/run/pg"}, True),
        ({"host": "db.example"}, False),
        ({"host": "127.0.0.1.example"}, False),
        ({"host": "db.example", "options": {"unix_socket": "/run/s"}}, True),
        ({"host": "db.example", "kind": "sqlite"}, True),
    ],
)
def test_only_traffic_on_this_machine_is_local(place: dict[str, Any], local: bool) -> None:
    assert replace(endpoint("x"), **place).is_local is local

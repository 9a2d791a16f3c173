"""A taken port is noticed, and another is chosen."""

from __future__ import annotations

import socket

import pytest

from demo.ports import HOST, choose, is_free


@pytest.fixture
def server() -> socket.socket:
    return socket.create_server((HOST, 0))


def test_a_port_somebody_listens_on_is_not_chosen(server: socket.socket) -> None:
    taken = server.getsockname()[1]
    with server:
        assert not is_free(taken)
        chosen = choose(taken)
        assert chosen != taken
        with socket.create_server((HOST, chosen)):
            assert not is_free(chosen)


def test_a_port_taken_on_all_addresses_of_the_machine_is_not_chosen() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104
        assert choose(server.getsockname()[1]) != server.getsockname()[1]


def test_a_free_port_is_chosen_as_wanted(server: socket.socket) -> None:
    free = server.getsockname()[1]
    server.close()
    assert choose(free) == free


def test_beyond_the_last_port_the_system_gives_one() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demo.ports.TRIES", 0)
        assert is_free(choose(65_535))

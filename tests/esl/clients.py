"""A client connected to a small server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from callengine.esl.client import EslClient
from callengine.esl.exchange import Loss
from tests.esl.switches import PASSWORD, Peer, switch


def new_client(port: int, password: str = PASSWORD, **settings: Any) -> EslClient:
    return EslClient("127.0.0.1", port, password, **{"connect_timeout_s": 2.0, "command_timeout_s": 2.0} | settings)


@contextmanager
def connected(script: Callable[[Peer], None], **settings: Any) -> Iterator[EslClient]:
    with switch(script) as server:
        client = new_client(server.port, **settings)
        client.connect()
        try:
            yield client
        finally:
            client.close()


def loss_of(client: EslClient) -> Loss:
    assert client.closed.wait(5)
    assert client.loss is not None
    assert not client.connected
    return client.loss

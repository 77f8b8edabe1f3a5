"""The proxy cuts, darkens and garbles as it says, and leaves everything else alone."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from gevent import socket, spawn
from gevent.pool import Group

from tests.chaos.garbling import Counts, Cutter, Frame, Garbler, Plan, garbage
from tests.chaos.proxy import Proxy

_S = 10.0
_REPLY = b"Content-Type: command/reply\nReply-Text: +OK %d\n\n"


def _event(number: int, size: int = 1000) -> bytes:
    body = json.dumps({"Event-Name": "TEST", "Number": str(number), "Pad": "x" * size}).replace(" ", "").encode()
    return b"Content-Length: %d\nContent-Type: text/event-json\n\n%s" % (len(body), body)


class _Switch:
    """Takes connections; the test says what is sent on them."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(_S)
        self.port = self.listener.getsockname()[1]

    def taken(self) -> socket.socket:
        sock, _ = self.listener.accept()
        sock.settimeout(_S)
        return sock


@pytest.fixture
def switch() -> Iterator[_Switch]:
    made = _Switch()
    yield made
    made.listener.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proxy")


@pytest.fixture
def proxy(switch: _Switch, folder: Path) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", switch.port, folder, seed=5) as made:
        yield made
    assert (folder / "proxy.log").read_text() == ""


def _pair(proxy: Proxy, switch: _Switch) -> tuple[socket.socket, socket.socket]:
    daemon = socket.create_connection(proxy.address, timeout=_S)
    return daemon, switch.taken()


def _all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        assert more
        data += more
    return data


def _numbers(frames: list[Frame]) -> list[int]:
    return [int(json.loads(frame.data[frame.head :])["Number"]) for frame in frames if frame.is_event]


def test_what_is_not_garbled_passes_byte_for_byte_in_any_pieces(proxy: Proxy, switch: _Switch) -> None:
    daemon, far = _pair(proxy, switch)
    stream = b"".join(_event(n, n % 3000) + (_REPLY % n if n % 7 == 0 else b"") for n in range(300))

    def send() -> None:
        assert _exactly(far, 14) == b"auth ClueCon\n\n"
        rng, at = random.Random(1), 0
        while at < len(stream):
            size = rng.randint(1, 9000)
            far.sendall(stream[at : at + size])
            at += size
        far.close()

    spawn(send)
    daemon.sendall(b"auth ClueCon\n\n")
    assert _all(daemon) == stream
    assert proxy.stats()["events"] == 300
    daemon.close()


def test_half_a_message_is_not_held_back(proxy: Proxy, switch: _Switch) -> None:
    daemon, far = _pair(proxy, switch)
    first = _event(1)
    far.sendall(first[:700])
    assert _exactly(daemon, 700) == first[:700]
    proxy.garble(delayed_share=0)
    far.sendall(first[700:] + _event(2))
    rest = first[700:] + _event(2) * 2
    assert _exactly(daemon, len(rest)) == rest
    far.close()
    daemon.close()


def test_garbled_events_come_twice_and_late_and_answers_in_order(proxy: Proxy, switch: _Switch) -> None:
    daemon, far = _pair(proxy, switch)
    proxy.garble(delayed_share=0.1, delay_max_s=0.3, garbage_one_in=0)
    far.sendall(b"".join(_event(n) + _REPLY % n for n in range(200)))
    frames: list[Frame] = []
    cutter = Cutter()
    while len(frames) < 600:
        frames += cutter.feed(daemon.recv(1 << 16))
    replies = [frame.data for frame in frames if not frame.is_event]
    assert replies == [_REPLY % n for n in range(200)]
    numbers = _numbers(frames)
    assert Counter(numbers) == Counter(dict.fromkeys(range(200), 2))
    assert numbers != sorted(numbers)
    stats = proxy.stats()
    assert (stats["doubled"], stats["garbled"], stats["held_back_bytes"]) == (200, 0, 0)
    assert 5 <= stats["delayed"] <= 40
    far.close()
    daemon.close()


def test_what_is_held_back_comes_before_the_notice(proxy: Proxy, switch: _Switch) -> None:
    daemon, far = _pair(proxy, switch)
    proxy.garble(delayed_share=1.0, delay_max_s=60.0)
    notice = b"Content-Type: text/disconnect-notice\nContent-Length: 4\n\nbye\n"
    far.sendall(_event(1) + _event(2) + notice)
    far.close()
    got = _all(daemon)
    assert got.endswith(notice)
    assert Counter(_numbers(Cutter().feed(got))) == {1: 2, 2: 2}
    daemon.close()


def test_rst(proxy: Proxy, switch: _Switch) -> None:
    daemon, far = _pair(proxy, switch)
    far.sendall(_event(1))
    _exactly(daemon, len(_event(1)))
    proxy.rst()
    with pytest.raises(ConnectionResetError):
        daemon.recv(10)
    assert far.recv(10) == b""
    assert proxy.stats()["open"] == 0
    daemon.close()
    far.close()


def test_fin_comes_in_the_middle_of_a_message(proxy: Proxy, switch: _Switch) -> None:
    daemon, far = _pair(proxy, switch)
    proxy.fin()
    far.sendall(_event(1))
    got = _all(daemon)
    assert 0 <= len(got) < len(_event(1))
    assert _event(1).startswith(got)
    assert far.recv(10) == b""
    daemon.close()
    far.close()


def test_fin_comes_also_where_nothing_is_said(proxy: Proxy, switch: _Switch) -> None:
    daemon, far = _pair(proxy, switch)
    proxy.fin()
    assert _all(daemon) == b""
    daemon.close()
    far.close()


def test_a_black_hole_is_silent_and_what_was_made_before_its_end_stays_dead(proxy: Proxy, switch: _Switch) -> None:
    before, far = _pair(proxy, switch)
    proxy.black_hole()
    during = socket.create_connection(proxy.address, timeout=_S)
    far.sendall(_event(1))
    during.sendall(b"auth ClueCon\n\n")
    before.sendall(b"api status\n\n")
    proxy.heal()
    after, far_after = _pair(proxy, switch)
    far_after.sendall(_event(2))
    assert _exactly(after, len(_event(2))) == _event(2)
    for dead in (before, during, far):
        dead.settimeout(0.2)
        with pytest.raises(TimeoutError):
            dead.recv(1)
    before.close()
    # As the switch's next packet into the dead connection would have it answered.
    far.settimeout(_S)
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    for sock in (during, far, after, far_after):
        sock.close()


def test_no_switch_is_a_refusal(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    # It may come so soon that connecting already fails.
    with (
        Proxy("127.0.0.1", port, folder) as proxy,
        pytest.raises(ConnectionResetError),
        socket.create_connection(proxy.address, timeout=_S) as daemon,
    ):
        daemon.recv(1)


def test_a_client_that_does_not_read_is_felt_by_the_switch(proxy: Proxy, switch: _Switch) -> None:
    daemon, far = _pair(proxy, switch)
    proxy.garble(delayed_share=0.5)
    far.settimeout(0.5)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 200 << 20:
            sent += far.send(_event(1, 100_000))
    assert sent < 60 << 20
    far.close()
    daemon.close()


def test_it_carries_more_than_a_switch_sends(proxy: Proxy, switch: _Switch) -> None:
    daemon, far = _pair(proxy, switch)
    proxy.garble(delay_max_s=0.2)
    group, event = Group(), _event(1, 4000)

    def send() -> None:
        for _ in range(100):
            far.sendall(event * 60)
        far.close()

    began = time.monotonic()
    group.spawn(send)
    assert len(_all(daemon)) >= 2 * 6000 * len(event) * 0.99
    # 3,000 a second are asked for; a busy machine is given some grace.
    assert time.monotonic() - began < 4
    group.join(_S)
    daemon.close()


def test_the_same_seed_draws_the_same() -> None:
    frames = Cutter().feed(b"".join(map(_event, range(500))))
    outputs = []
    for _ in range(2):
        garbler = Garbler(random.Random("7:1"), Counts())
        outputs.append([garbler.take(frame, Plan(garbage_one_in=10), 0.0) for frame in frames] + [garbler.rest()])
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("kind", ["json", "plain"])
def test_garbage_is_in_its_frame_and_says_nothing(kind: str) -> None:
    rng = random.Random(3)
    event = _event(1, 300).replace(b"event-json", b"event-" + kind.encode())
    frame = Cutter().feed(event)[0]
    bodies = set()
    for _ in range(400):
        got = Cutter().feed(garbage(frame, rng) + event)
        assert len(got) == 2
        assert got[1].data == event
        body = got[0].data[got[0].head :]
        bodies.add(body)
        assert int(re.findall(rb"Content-Length: (\d+)", got[0].data)[0]) == len(body)
        with pytest.raises(ValueError, match=r"Expecting|Extra|Invalid|Unterminated|utf|delimiter|decode"):
            json.loads(body, strict=False)
    assert len(bodies) > 300

"""A process that follows a dead one takes over at once; one beside a living one waits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from callengine.errors import LeaseHeld
from callengine.store.database import Store
from callengine.store.holder import Holder, at_work
from callengine.store.lease import Lease

_LIVING = """
import sys
from pathlib import Path
from callengine.store.holder import Holder, at_work
holder = Holder(Path(sys.argv[1]))
print(holder.name, holder.alone, flush=True)
sys.stdin.read()
"""


def test_the_name_of_one_that_was_killed_is_known(tmp_path: Path, store: Store) -> None:
    lease = Lease(store)
    with subprocess.Popen(
        [sys.executable, "-c", _LIVING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        name, alone = process.stdout.readline().split()
        assert alone == "True"
        lease.hold("sw1", name)
        beside = Holder(tmp_path)
        assert (beside.alone, beside.predecessors, beside.claim()) == (False, frozenset(), False)
        with pytest.raises(LeaseHeld):
            lease.hold("sw1", beside.name, dead=beside.predecessors)
        process.kill()
        process.wait()
        assert beside.claim()
        assert beside.predecessors == {name}
        assert lease.hold("sw1", beside.name, dead=beside.predecessors).epoch == 2
    beside.release()
    assert Holder(tmp_path).predecessors == {beside.name, name}


def test_one_that_was_killed_before_it_took_over_leaves_what_is_to_be_taken_over(tmp_path: Path, store: Store) -> None:
    lease, names = Lease(store), list[str]()
    for _ in range(20):
        killed = Holder(tmp_path)
        if not names:
            lease.hold("sw1", killed.name)
            lease.hold("role", killed.name)
        names.append(killed.name)
        killed.release()
        if len(names) == 3:
            follower = Holder(tmp_path)
            assert follower.predecessors == set(names)
            assert lease.hold("sw1", follower.name, dead=follower.predecessors).epoch == 2
            assert lease.hold("role", follower.name, dead=follower.predecessors).epoch == 2
            follower.release()
    assert len(Holder(tmp_path).predecessors) == 8


def test_who_is_dead_elsewhere_is_not_taken_for_another(tmp_path: Path, store: Store) -> None:
    lease = Lease(store)
    lease.hold("sw1", "living")
    with pytest.raises(LeaseHeld):
        lease.hold("sw1", "me", dead=frozenset({"somebody else"}))


def test_without_a_directory_there_is_no_lock(tmp_path: Path) -> None:
    holder = Holder(tmp_path / "missing")
    assert (holder.alone, holder.predecessors) == (False, frozenset())


def test_who_is_at_work_is_the_last_of_them(tmp_path: Path) -> None:
    assert at_work(tmp_path) is None
    Holder(tmp_path).release()
    assert at_work(tmp_path) is None
    working = Holder(tmp_path)
    assert at_work(tmp_path) == working.name
    working.release()

"""Real SIGKILLs, and many processes on one file. The long versions are in tools/crash_sweep."""

import pytest

from tests.crash.kills import kill_writers
from tests.crash.simulation import Findings
from tests.crash.users import killed_writers, many_writers


@pytest.mark.parametrize("closes", [False, True], ids=["open", "closing"])
def test_killed_writers(scratch, closes):
    findings = Findings()
    reported = kill_writers(scratch, findings, kills=12, seed=closes, closes=closes, generations=4)
    assert not findings.wrong
    assert findings.tried["kill"] == 12
    assert reported > 0


def test_killed_with_large_frames(scratch):
    findings = Findings()
    assert kill_writers(scratch, findings, kills=6, seed=2, shape=(256, 256, 2)) > 0
    assert not findings.wrong


def test_writers_killed_beside_readers(scratch):
    findings = Findings()
    killed_writers(scratch, findings, kills=12, readers=2, seed=3)
    assert not findings.wrong
    assert findings.tried["reads beside kills"] > 0


def test_many_writers_take_turns(scratch):
    findings = Findings()
    many_writers(scratch, findings, writers=4, frames=60, readers=2, seconds=2.0)
    assert not findings.wrong
    assert findings.tried["reads beside writers"] > 0

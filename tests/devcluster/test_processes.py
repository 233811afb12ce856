"""Process-id files: only our own processes are ever signalled.

- a started daemon outlives the call, is found again, and is stopped; one that ignores SIGTERM is killed
- it keeps no file of its starter's open, so that a lock held around the start is free afterwards
- a process-id file whose process is gone, is another one by now, or is from another boot, means "not running"
- a daemon that dies is explained by the end of its log
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from devcluster.errors import DevclusterError
from devcluster.processes import Daemon, ProcessTable, identity
from tests.waiting import until

SLEEP = (sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)",
)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[ProcessTable]:
    table = ProcessTable(tmp_path / "run", tmp_path / "log")
    yield table
    table.stop(table.names(), grace=0)


def wait_for_output(table: ProcessTable, name: str, text: str) -> None:
    until(lambda: text in (table.logs / f"{name}.log").read_text())


def test_start_find_stop(table: ProcessTable) -> None:
    table.start(Daemon("sleeper", SLEEP))
    found = table.living("sleeper")
    assert found is not None
    table.start(Daemon("sleeper", SLEEP))
    assert table.living("sleeper") == found
    table.stop(["sleeper"])
    assert table.living("sleeper") is None
    assert identity(found.pid) is None
    assert table.names() == []


def test_a_daemon_leads_its_own_session(table: ProcessTable) -> None:
    table.start(Daemon("sleeper", SLEEP))
    found = table.living("sleeper")
    assert found is not None
    session = Path(f"/proc/{found.pid}/stat").read_text().rpartition(")")[2].split()[3]
    assert int(session) == found.pid


def test_a_daemon_does_not_keep_its_starters_lock(table: ProcessTable, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as held:
        os.set_inheritable(held.fileno(), True)
        fcntl.flock(held, fcntl.LOCK_EX)
        table.start(Daemon("sleeper", SLEEP))
    with lock.open("w") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert table.living("sleeper") is not None


def test_one_that_ignores_sigterm_is_killed(table: ProcessTable) -> None:
    table.start(Daemon("stubborn", STUBBORN))
    wait_for_output(table, "stubborn", "ready")
    found = table.living("stubborn")
    assert found is not None
    table.stop(["stubborn"], grace=0.1)
    assert identity(found.pid) is None


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot": "another-boot"}])
def test_a_process_of_somebody_else_is_neither_found_nor_signalled(table: ProcessTable, change: dict) -> None:
    with subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL) as stranger:
        born = identity(stranger.pid)
        assert born is not None
        table.folder.mkdir()
        (table.folder / "sleeper.json").write_text(json.dumps({**vars(born), **change}))
        assert table.living("sleeper") is None
        table.stop(["sleeper"], grace=0)
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", ["", "12", "{}", '{"pid": 1}', "[1, 2]"])
def test_a_broken_file_means_not_running(table: ProcessTable, content: str) -> None:
    table.folder.mkdir()
    (table.folder / "sleeper.json").write_text(content)
    assert table.living("sleeper") is None


def test_a_dead_daemon_is_explained_by_its_log(table: ProcessTable) -> None:
    with suppress(DevclusterError):  # It may be dead before it is looked at.
        table.start(Daemon("broken", (sys.executable, "-c", "import sys; sys.exit('no such flag')")))
    wait_for_output(table, "broken", "no such flag")
    until(lambda: not table.living("broken"))
    assert "no such flag" in table.explain("broken")


def test_additional_environment(table: ProcessTable) -> None:
    program = "import os, time; print(os.environ['COLOUR'], flush=True); time.sleep(60)"
    table.start(Daemon("printer", (sys.executable, "-c", program), env={"COLOUR": "green"}))
    wait_for_output(table, "printer", "green")

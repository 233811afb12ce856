"""An operator upgrade restarts no model: today's pod templates are those of every release so far.

Each folder of tests/operator/goldens/released holds, for the services of that release, the pod template and the spec
hash that it made of them. They must come out of today's code unchanged as long as the image is the recorded one: a pod
template that differs restarts every pod of every service on the day of the upgrade, and a hash that differs makes the
operator forget the recorded image, which does the same.

A release adds its folder with `python -m tests.operator.released VERSION`; `--update-goldens` does not touch them. If a
change here cannot be avoided, it belongs into a field that only new services get.
"""

from pathlib import Path

import pytest
import yaml

from tests.operator.released import RELEASED, record_of, write

RECORDS = sorted(RELEASED.glob("*/*.yaml"))


def test_there_are_releases() -> None:
    assert {path.parent.name for path in RECORDS} >= {"0.1.0"}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_pod_template_and_the_hash_stay(path: Path) -> None:
    recorded = yaml.safe_load(path.read_text())
    assert record_of(recorded["service"], recorded["images"])["versions"] == recorded["versions"]


def test_a_release_is_recorded_once() -> None:
    with pytest.raises(FileExistsError):
        write("0.1.0")

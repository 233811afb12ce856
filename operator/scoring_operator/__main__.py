"""`python -m scoring_operator`: the operator, against the current kubeconfig or inside a cluster."""

import asyncio
import logging
import os
import sys

from scoring_operator.config import ConfigError, read_settings
from scoring_operator.connection import UnconfiguredError
from scoring_operator.leader import LeadershipLostError
from scoring_operator.logs import configure
from scoring_operator.main import EndedError, run

_USAGE = 2
_FAILED = 1


def main() -> int:
    """Run the operator; the exit status is 0 after SIGTERM or SIGINT, 2 for wrong settings, 1 for anything else."""
    try:
        settings = read_settings(os.environ)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return _USAGE
    configure(settings)
    logger = logging.getLogger("scoring_operator")
    try:
        asyncio.run(run(settings))
    except UnconfiguredError as error:
        logger.error("%s", error)
        return _USAGE
    except (LeadershipLostError, EndedError, OSError) as error:
        logger.error("the operator ends: %s", error)
        return _FAILED
    logger.info("the operator ends as asked")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

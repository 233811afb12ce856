"""The router's configuration: pure functions from a service and where its requests go to the files that Envoy reads.

| file           | what it holds                              | changes with                                  |
|----------------|--------------------------------------------|-----------------------------------------------|
| bootstrap.json | where the others are, the admin address    | releases of the operator                      |
| lds.json       | the ports and the way of a request         | timeouts, gRPC, the largest body              |
| cds.json       | where the pods of each version are         | versions that come and go, their size         |
| rds-*.json     | shares, mirrors, versions picked by name   | shares, and which versions have ready pods    |
| drain.sh       | how a pod of the router ends               | releases of the operator                      |

Envoy watches the folder that they are mounted at and takes up all but the first and the last without a restart
(https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/xds_api#filesystem-subscriptions).
"""

from scoring_operator.envoy.clusters import version_of_cluster
from scoring_operator.envoy.files import BOOTSTRAP_FILE, DRAIN_FILE, FOLDER, router_files, start_files

__all__ = ["BOOTSTRAP_FILE", "DRAIN_FILE", "FOLDER", "router_files", "start_files", "version_of_cluster"]

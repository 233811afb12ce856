"""How a pod of the router ends without losing a request."""

from scoring_operator.envoy.bootstrap import ADMIN_PORT
from scoring_operator.resources.environment import DRAIN_SECONDS

DRAIN_SCRIPT = f"""\
# Run by kubelet before it ends the router (preStop), with bash, which the image has beside Envoy.
# First Envoy asks its callers to come back on another connection, and still takes requests, because proxies may not
# have heard yet that the pod leaves. Then it waits for the requests at hand; kubelet bounds how long.

ask() {{ # METHOD PATH
  exec 3<>/dev/tcp/127.0.0.1/{ADMIN_PORT} || exit 0
  printf '%s %s HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n' "$1" "$2" >&3
  answer=
  while IFS= read -r line <&3 || [[ -n $line ]]; do answer+=$line$'\\n'; done
  exec 3>&-
}}

busy() {{
  ask GET '/stats?filter=^http\\.(http|grpc)\\.downstream_rq_active$'
  [[ $answer =~ rq_active:\\ [1-9] ]]
}}

ask POST /healthcheck/fail
sleep {DRAIN_SECONDS}
while busy; do sleep 0.2; done
"""

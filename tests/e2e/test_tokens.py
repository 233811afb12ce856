"""Tokens of the cluster's own ServiceAccounts open a service, and nothing else does.

case                                             expected
`kubectl create token` for the audience          200, by the Ingress
no token, a key, another audience                401
its claims changed, signed by nobody, unsigned   401 (expiry: tests/runtime; the API server makes no short tokens)
a caller who is not among the subjects           401 or 403
the operator's part                              the API server's keys in a ConfigMap; no Secret with keys
kubectl scoring keys                             says how to get a token
auth: Token, then Key                            keys are there, the ConfigMap is gone, tokens open nothing
"""

import base64
import json
import subprocess
import sys
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from devcluster.target import Target
from tests.e2e.client import IngressClient
from tests.e2e.cluster import Namespace, eventually
from tests.e2e.test_serving import FLOWERS, eventually_answered
from tests.waiting import PATIENCE

pytestmark = pytest.mark.e2e


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def token_for(namespace: Namespace, account: str, audience: str, *options: str) -> str:
    """A token that the API server signs, as a user asks for it."""
    return namespace.run("create", "token", account, "--audience", audience, *options).stdout.strip()


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def forged(token: str) -> str:
    """The same claims, signed by somebody else's key under the cluster's key id."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    headers = {"kid": jwt.get_unverified_header(token)["kid"]}
    return jwt.encode(claims_of(token), key, algorithm="RS256", headers=headers)


def tampered(token: str) -> str:
    """The token with another subject and the signature it had."""
    head, _, signature = token.split(".")
    claims = {**claims_of(token), "sub": "system:serviceaccount:kube-system:admin"}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


def test_tokens_of_the_cluster(namespace: Namespace, iris: dict, target: Target) -> None:
    for account in ("checkout", "stranger"):
        namespace.run("create", "serviceaccount", account)
    subject = f"system:serviceaccount:{namespace.name}:checkout"
    spec = {**namespace.published(iris), "auth": {"type": "Token", "token": {"subjects": [subject]}}}
    namespace.deploy("iris", spec)
    client = namespace.client("iris")
    audience = f"iris.{namespace.name}"
    good = token_for(namespace, "checkout", audience)
    assert eventually_answered(client, FLOWERS, headers=bearer(good)).body == [0, 2, 1]

    published = json.loads(namespace.kubectl("get", "--raw", "/openid/v1/jwks").stdout)["keys"]
    kept = json.loads(namespace.get("configmap", "iris-jwks")["data"]["jwks.json"])["keys"]
    assert as_set(kept) == as_set(published)
    assert namespace.get("secret", "iris-keys") == {}

    wrong = {
        "no token": {},
        "a key": bearer("p3Zk7mJ0s1Qw8Yc5Xv2Bn9Lh4Tg6Rf1Dd0Aa7Ss3Ee5U"),
        "another audience": bearer(token_for(namespace, "checkout", f"other.{namespace.name}")),
        "the API server's audience": bearer(namespace.run("create", "token", "checkout").stdout.strip()),
        "changed": bearer(tampered(good)),
        "of nobody": bearer(forged(good)),
        "unsigned": bearer(jwt.encode(claims_of(good), None, algorithm="none")),
    }
    refused = {case: client.score(FLOWERS, headers=headers).status for case, headers in wrong.items()}
    assert refused == dict.fromkeys(wrong, 401)
    stranger = client.score(FLOWERS, headers=bearer(token_for(namespace, "stranger", audience)))
    assert stranger.status in {401, 403}
    for answer in (stranger, client.score(FLOWERS, headers=wrong["changed"])):
        assert set(answer.body["error"]) >= {"code", "message"}

    said = scoring_keys(target, namespace)
    assert f"kubectl create token SERVICEACCOUNT --audience {audience}" in said

    back_to_keys(namespace, spec, client, good)


def as_set(keys: list[dict[str, Any]]) -> set[str]:
    return {json.dumps(key, sort_keys=True) for key in keys}


def scoring_keys(target: Target, namespace: Namespace) -> str:
    """What `kubectl scoring keys iris` says; it must fail, as there are none."""
    done = subprocess.run(
        [sys.executable, "-m", "scoring_cli", "keys", "iris", "-n", namespace.name],
        env={"KUBECONFIG": str(target.kubeconfig), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 1, done.stdout
    return done.stderr


def back_to_keys(namespace: Namespace, spec: dict, client: IngressClient, token: str) -> None:
    namespace.apply("iris", {**spec, "auth": {"type": "Key"}})
    key = eventually(lambda: namespace.secret("iris-keys").get("primary"), what="the keys to be drawn")
    eventually(lambda: client.score(FLOWERS, headers=bearer(token)).status == 401, what="keys alone to open")
    eventually(lambda: client.score(FLOWERS, headers=bearer(key)).status == 200, what="the key to open")
    assert namespace.get("configmap", "iris-jwks") == {}

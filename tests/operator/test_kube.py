"""What goes over the wire to the API server, and what is made of its answers: against a real HTTP server.

| answer                                | outcome                                            |
|---------------------------------------|----------------------------------------------------|
| 200                                   | the object                                         |
| 404 to a read                         | None                                               |
| 4xx                                   | a typed error with the server's sentence, at once  |
| 429, 5xx, a broken connection         | tried again; ApiUnavailable in the end             |
| a list in pages; one that expired     | one list; started over                             |
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from scoring_operator import kube as kube_module
from scoring_operator.connection import Connection, UnconfiguredError, connect
from scoring_operator.kinds import DEPLOYMENT, MIDDLEWARE, POD, SCORING_SERVICE, SECRET
from scoring_operator.kube import (
    ApiError,
    ApiUnavailableError,
    ConflictError,
    ForbiddenError,
    Kube,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
)

Answer = Callable[[web.Request], web.StreamResponse]


class Server:
    """Answers with what is queued, else with an empty object; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []
        self.token = "first"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.asked.append(
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "headers": dict(request.headers),
                "body": json.loads(body) if body else None,
            }
        )
        return self.answers.pop(0)(request) if self.answers else web.json_response({})

    def connection(self, port: int) -> Connection:
        async def token(*_: Any, **__: Any) -> str:
            return f"Bearer {self.token}"

        return Connection(
            SimpleNamespace(
                host=f"http://127.0.0.1:{port}/",
                ssl_ca_cert=None,
                ca_cert_data=None,
                cert_file=None,
                key_file=None,
                verify_ssl=True,
                proxy=None,
                tls_server_name=None,
                get_api_key_with_prefix=token,
            )
        )


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Kube]]:
    server = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    kube = Kube(server.connection(port), timeout=1)
    yield server, kube
    await kube.close()
    await runner.cleanup()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between tries are noted and not slept."""
    pauses: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(kube_module.asyncio, "sleep", sleep)
    return pauses


def refusal(status: int, message: str, reason: str = "", **headers: str) -> Answer:
    body = {"kind": "Status", "message": message, "reason": reason}
    return lambda _: web.json_response(body, status=status, headers=headers)


MANIFEST = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "iris", "namespace": "team"},
    "spec": {},
}


async def test_an_apply_is_forced_and_under_the_operators_name(server: tuple[Server, Kube]) -> None:
    http, kube = server
    await kube.apply(DEPLOYMENT, MANIFEST)
    (asked,) = http.asked
    assert (asked["method"], asked["path"]) == ("PATCH", "/apis/apps/v1/namespaces/team/deployments/iris")
    assert asked["query"] == {"fieldManager": "scoring-operator", "force": "true"}
    assert asked["headers"]["Content-Type"] == "application/apply-patch+yaml"
    assert asked["body"] == MANIFEST


async def test_each_request_carries_the_token_of_its_moment(server: tuple[Server, Kube]) -> None:
    http, kube = server
    await kube.get(POD, "team", "iris")
    http.token = "rotated"
    await kube.get(POD, "team", "iris")
    assert [asked["headers"]["Authorization"] for asked in http.asked] == ["Bearer first", "Bearer rotated"]


async def test_a_status_is_merged_into_exactly_this_object(server: tuple[Server, Kube]) -> None:
    http, kube = server
    target = {"metadata": {"name": "iris", "namespace": "team", "uid": "u"}}
    await kube.merge_status(SCORING_SERVICE, target, {"message": "m", "url": None})
    (asked,) = http.asked
    assert asked["path"] == "/apis/scoring.dev/v1alpha1/namespaces/team/scoringservices/iris/status"
    assert asked["headers"]["Content-Type"] == "application/merge-patch+json"
    assert asked["body"] == {"metadata": {"uid": "u"}, "status": {"message": "m", "url": None}}


async def test_an_annotation_is_written_through_the_status(server: tuple[Server, Kube]) -> None:
    http, kube = server
    target = {"metadata": {"name": "router-1", "namespace": "team", "uid": "u"}}
    await kube.annotate(POD, target, {"scoring.dev/a": "b"})
    (asked,) = http.asked
    assert asked["path"] == "/api/v1/namespaces/team/pods/router-1/status"
    assert asked["headers"]["Content-Type"] == "application/merge-patch+json"
    assert asked["body"] == {"metadata": {"uid": "u", "annotations": {"scoring.dev/a": "b"}}}


async def test_a_delete_names_the_uid_and_forgives_what_is_gone(server: tuple[Server, Kube]) -> None:
    http, kube = server
    http.answers = [refusal(404, "not found"), refusal(409, "uid differs")]
    target = {"metadata": {"name": "iris", "namespace": "team", "uid": "u"}}
    await kube.delete(DEPLOYMENT, target)
    await kube.delete(DEPLOYMENT, target)
    assert http.asked[0]["body"]["preconditions"] == {"uid": "u"}


async def test_metadata_alone_shows_nothing_of_a_secret(server: tuple[Server, Kube]) -> None:
    http, kube = server
    await kube.metadata(SECRET, "team", "iris-tls")
    assert "as=PartialObjectMetadata" in http.asked[0]["headers"]["Accept"]


async def test_a_document_beside_the_resources(server: tuple[Server, Kube]) -> None:
    """The API server answers its key set as application/jwk-set+json and refuses who asks for JSON alone."""
    fake, kube = server
    fake.answers = [
        lambda _: web.Response(text='{"keys": []}', content_type="application/jwk-set+json"),
        lambda _: web.json_response({"message": "not found"}, status=404),
    ]
    assert await kube.document("/openid/v1/jwks") == {"keys": []}
    assert await kube.document("/openid/v1/jwks") is None
    assert [asked["path"] for asked in fake.asked] == ["/openid/v1/jwks"] * 2
    assert fake.asked[0]["headers"]["Accept"] == "*/*"


async def test_what_is_not_there_is_none(server: tuple[Server, Kube]) -> None:
    http, kube = server
    http.answers = [refusal(404, "not found")] * 3
    assert await kube.get(POD, "team", "iris") is None
    assert await kube.metadata(POD, "team", "iris") is None
    assert await kube.serves(MIDDLEWARE) is False
    http.answers = [lambda _: web.json_response({"resources": [{"name": "middlewares"}]})]
    assert await kube.serves(MIDDLEWARE) is True


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RejectedError),
        (401, UnauthorizedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (418, ApiError),
        (422, RejectedError),
    ],
)
async def test_a_refusal_is_typed_told_in_the_servers_words_and_not_repeated(
    server: tuple[Server, Kube], status: int, error: type[ApiError]
) -> None:
    http, kube = server
    http.answers = [refusal(status, "the server's sentence", "AlreadyExists")]
    with pytest.raises(error) as raised:
        await kube.apply(DEPLOYMENT, MANIFEST)
    assert type(raised.value) is error
    assert (str(raised.value), raised.value.status) == ("the server's sentence", status)
    assert len(http.asked) == 1


async def test_a_value_of_the_wrong_type_is_a_refusal_whatever_its_status(server: tuple[Server, Kube]) -> None:
    """The API server answers 500 to it, when an object is applied."""
    http, kube = server
    sentence = "failed to create typed patch object (team/iris): .spec.replicas: expected numeric, got string"
    http.answers = [refusal(500, sentence)]
    with pytest.raises(RejectedError, match="expected numeric"):
        await kube.apply(DEPLOYMENT, MANIFEST)
    assert len(http.asked) == 1


async def test_a_page_of_a_proxy_is_no_sentence(server: tuple[Server, Kube]) -> None:
    http, kube = server
    http.answers = [lambda _: web.Response(status=403, text="<html>blocked</html>", content_type="text/html")]
    with pytest.raises(ForbiddenError, match="HTTP 403 to PATCH /apis"):
        await kube.apply(DEPLOYMENT, MANIFEST)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(server: tuple[Server, Kube], status: int, impatient: list[float]) -> None:
    http, kube = server
    http.answers = [refusal(status, "busy"), refusal(status, "busy")]
    assert await kube.apply(DEPLOYMENT, MANIFEST) == {}
    assert len(http.asked) == 3
    assert 0.1 <= impatient[0] <= 0.2
    assert 0.3 <= impatient[1] <= 0.6


async def test_trying_ends(server: tuple[Server, Kube]) -> None:
    http, kube = server
    http.answers = [refusal(503, "etcd is away")] * 9
    with pytest.raises(ApiUnavailableError, match="etcd is away"):
        await kube.apply(DEPLOYMENT, MANIFEST)
    assert len(http.asked) == 4


async def test_the_server_says_how_long_to_wait_within_reason(
    server: tuple[Server, Kube], impatient: list[float]
) -> None:
    http, kube = server
    http.answers = [refusal(429, "busy", **{"Retry-After": "3"}), refusal(429, "busy", **{"Retry-After": "999"})]
    await kube.apply(DEPLOYMENT, MANIFEST)
    assert impatient == [3, 10]


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    kube = Kube(Server().connection(9), timeout=1)
    try:
        with pytest.raises(ApiUnavailableError, match="did not answer GET /api/v1"):
            await kube.get(POD, "team", "iris")
    finally:
        await kube.close()


async def test_a_list_comes_in_pages(server: tuple[Server, Kube]) -> None:
    http, kube = server

    def page(name: str, token: str) -> Answer:
        body = {"metadata": {"continue": token, "resourceVersion": "7"}, "items": [{"metadata": {"name": name}}]}
        return lambda _: web.json_response(body)

    http.answers = [page("a", "next"), page("b", "")]
    listing = await kube.list(POD, None, "app=x", "regarding.uid=u")
    assert [item["metadata"]["name"] for item in listing.items] == ["a", "b"]
    assert {(item["apiVersion"], item["kind"]) for item in listing.items} == {("v1", "Pod")}
    assert listing.version == "7"
    assert http.asked[0]["path"] == "/api/v1/pods"
    assert http.asked[0]["query"] == {"limit": "500", "labelSelector": "app=x", "fieldSelector": "regarding.uid=u"}
    assert http.asked[1]["query"]["continue"] == "next"

    http.answers = [page("a", "next"), refusal(410, "expired", "Expired"), page("c", "")]
    assert [item["metadata"]["name"] for item in (await kube.list(POD, "team")).items] == ["c"]


async def test_answers_are_counted(server: tuple[Server, Kube]) -> None:
    http, kube = server
    seen: list[tuple[str, int]] = []
    kube._observe = lambda method, status: seen.append((method, status))
    http.answers = [refusal(503, "busy")]
    await kube.apply(DEPLOYMENT, MANIFEST)
    assert seen == [("PATCH", 503), ("PATCH", 200)]


async def test_a_kubeconfig_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text(
        "{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],"
        "clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443'}}], users: [{name: u, user: {token: t}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    connection = await connect()
    assert connection.server == "https://10.0.0.1:6443"
    assert await connection.headers() == {"Authorization": "Bearer t"}
    assert "Bearer t" not in repr(connection)


@pytest.mark.parametrize("text", ["", "not: [yaml", "{apiVersion: v1, kind: Config}"])
async def test_a_useless_kubeconfig_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(UnconfiguredError, match=r"^no Kubernetes to work for: .*set KUBECONFIG") as raised:
        await connect()
    assert "\n" not in str(raised.value)

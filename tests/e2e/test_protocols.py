"""One model, reached in each of its ways: what a service with everything on answers, from outside and inside.

case                                     expected
V2 with binary tensors, by the Ingress   the model's own answer, also below a path
gRPC, by the Service's address           the model's own answer with the key, UNAUTHENTICATED without
metrics and load                         on the pods' own port, and neither by the Ingress nor by the Service
the page, by the Ingress, below a path   whole in one document, and what it shows of the model with the key alone
the page in Chromium                     an answer to the example, by the Ingress, without a request to elsewhere
"""

import contextlib
import dataclasses
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devcluster.target import Target
from tests.e2e.client import IngressClient
from tests.e2e.cluster import Namespace
from tests.e2e.comparison import v2_binary
from tests.e2e.test_serving import FLOWERS, eventually_answered, once_routed
from tests.waiting import PATIENCE

pytestmark = pytest.mark.e2e

GRPC_PORT = 8081
METRICS_PORT = 8082


def test_v2_and_grpc(namespace: Namespace, iris: dict, model_files: dict[str, Path], target: Target) -> None:
    import joblib

    namespace.deploy("iris", {**namespace.published(iris, "/team"), "grpc": {"enabled": True}})
    client = namespace.client("iris", "/team")
    eventually_answered(client, FLOWERS)
    own = joblib.load(model_files["iris"] / "model.joblib").predict(FLOWERS)

    assert client.request("GET", "v2/health/ready").status == 200
    (answer,) = v2_binary(client, "iris", {"input": np.array(FLOWERS)}, ["predict"]).values()
    np.testing.assert_array_equal(answer, own)
    assert client.request("POST", "v2/models/iris/infer", body=b"{}", headers={"Authorization": ""}).status == 401

    with reached(namespace, target, "iris", GRPC_PORT) as address:
        np.testing.assert_array_equal(over_grpc(address, np.array(FLOWERS), str(client.key)), own)

    metrics_stay_inside(namespace, client)
    the_page_comes_below_the_path(client)


def over_grpc(address: str, rows: Any, key: str) -> Any:
    """The first output over gRPC, with the key in the metadata; without it nothing is answered."""
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    given = triton.InferInput("input", list(rows.shape), "FP64")
    given.set_data_from_numpy(rows)
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
            client.infer("iris", [given], client_timeout=PATIENCE)
        answer = client.infer("iris", [given], headers={"authorization": f"Bearer {key}"}, client_timeout=PATIENCE)
    return answer.as_numpy("predict")


def metrics_stay_inside(namespace: Namespace, client: IngressClient) -> None:
    for path in ("metrics", "load"):
        assert client.request("GET", path).status == 404
    assert {port["name"] for port in namespace.get("service", "iris")["spec"]["ports"]} == {"http", "grpc"}
    (pod,) = namespace.get("pods")["items"]
    name = f"http://{pod['status']['podIP']}:{METRICS_PORT}"
    script = f"import urllib.request as u; print(u.urlopen('{name}/metrics', timeout=10).read().decode())"
    shown = namespace.run("exec", pod["metadata"]["name"], "-c", "runtime", "--", "python", "-c", script).stdout
    counted = re.findall(r'^scoring_requests_total\{.*code="200".*\} (\d+)', shown, re.MULTILINE)
    assert sum(map(int, counted)) > 0, shown


def the_page_comes_below_the_path(client: IngressClient) -> None:
    page = client.request("GET", "ui", headers={"Authorization": ""})
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    # It brings its style and script along, and asks for the model beside itself, wherever that is.
    assert re.findall(r"""<(?:script|link|img)[^>]*(?:src|href)="(?!data:)""", page.body) == []
    assert "ui/model" in page.body
    assert not re.search(r"""["'`]/ui/model""", page.body)
    assert client.request("GET", "ui/model", headers={"Authorization": ""}).status == 401
    about = client.request("GET", "ui/model").body
    assert (about["name"], about["framework"], about["secured"]) == ("iris", "sklearn", True)
    elsewhere = dataclasses.replace(client, path="/")
    assert elsewhere.request("GET", "ui").status == 404


@pytest.mark.slow
def test_the_page_in_chromium(namespace: Namespace, iris: dict) -> None:
    from playwright.sync_api import expect, sync_playwright

    namespace.deploy("iris", namespace.published(iris, "/team"))
    client = namespace.client("iris", "/team")
    once_routed(lambda: client.request("GET", "ui"))
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "Chromium is missing: bash devcluster/system-packages.sh browser"
    asked: list[str] = []
    arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {namespace.host} {client.address}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(ignore_https_errors=True)
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"https://{namespace.host}/team/ui")
        page.get_by_label("Key or token", exact=True).fill(str(client.key))
        page.get_by_role("button", name="Use it").click()
        page.get_by_role("button", name="Send").click()
        answer = page.get_by_role("region", name="Answer", exact=True)
        expect(answer.get_by_role("table")).to_be_visible()
        if folder := os.environ.get("PAGE_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / "ingress.png", full_page=True)
        browser.close()
    assert {url.partition("?")[0] for url in asked if not url.startswith("data:")} == {
        f"https://{namespace.host}/team/{path}" for path in ("ui", "ui/model", "score")
    }


@contextlib.contextmanager
def reached(namespace: Namespace, target: Target, service: str, port: int) -> Iterator[str]:
    """HOST:PORT of a Service's port: its cluster address where this machine is a node, else a forwarded one."""
    address = namespace.get("service", service)["spec"]["clusterIP"]
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError:
        command = [target.kubectl, "-n", namespace.name, "port-forward", f"service/{service}", f":{port}"]
        forward = subprocess.Popen(
            list(map(str, command)), env={"KUBECONFIG": str(target.kubeconfig)}, stdout=subprocess.PIPE, text=True
        )
        try:
            assert forward.stdout is not None
            found = re.search(r"127\.0\.0\.1:\d+", forward.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            forward.terminate()
            forward.communicate()
    else:
        yield f"{address}:{port}"

"""The page at /ui as a person sees it, in a real Chromium, served by real processes.

what the person does                        what is there
opens it where a key is wanted              a field for the key, focused; a wrong one gives the server's own words
sends the example                           a table; predict_proba gives ranked bars
sends what the model refuses                the server's own message, announced as an alert
chooses an image                            its likeliest labels with bars
uses the keyboard alone                     key, request, answer
prefers a dark page                         another ground, the same text, both easy to read

In all of it: no request leaves this server, no script error, and nothing is kept by the browser.

Screenshots are kept in $PAGE_SCREENSHOTS, if it is set.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

pytestmark = [pytest.mark.slow, pytest.mark.process]
KEY = "a-key-of-the-page-0123456789"
PATIENCE_MILLISECONDS = 60_000
SCRIPT = """
def init(): pass

def run(data):
    return [{"answer": "reset it", "score": 0.9312}, {"answer": "ask us", "score": 0.07}]
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "Chromium is missing: bash devcluster/system-packages.sh browser"
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        # A container's root has no sandbox to give.
        made = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield made
        made.close()


@dataclass
class Visit:
    """A page, and what it did."""

    page: Page
    origin: str
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def field(self, name: str) -> Any:
        return self.page.get_by_label(name, exact=True)

    def send(self) -> None:
        self.page.get_by_role("button", name="Send").click()

    def answer(self) -> Any:
        return self.page.get_by_role("region", name="Answer", exact=True)

    def shoot(self, name: str) -> None:
        folder = os.environ.get("PAGE_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a server's page; afterwards nothing may have left the server, failed, or been kept."""
    made: list[Visit] = []

    def open_page(server: Any, path: str = "/ui", **options: Any) -> Visit:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        one = Visit(context.new_page(), f"http://127.0.0.1:{server.port}/")
        made.append(one)

        def note(request: Request) -> None:
            if not request.url.startswith((one.origin, "blob:", "data:")):
                one.outside.append(request.url)

        context.on("request", note)
        context.route(lambda url: not url.startswith(one.origin), lambda route: route.abort())
        one.page.on("pageerror", lambda error: one.errors.append(str(error)))
        one.page.on("console", lambda said: one.errors.append(said.text) if "Content Security" in said.text else None)
        one.page.goto(f"{one.origin}{path.removeprefix('/')}")
        return one

    yield open_page
    for one in made:
        kept = one.page.evaluate("() => [localStorage.length, sessionStorage.length, document.cookie, location.href]")
        assert kept[:3] == [0, 0, ""]
        assert KEY not in kept[3]
        assert (one.outside, one.errors) == ([], [])
        one.page.context.close()


@pytest.fixture(scope="module")
def guarded(start_server: Callable[..., Any], iris_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that wants a key, below a prefix."""
    keys = tmp_path_factory.mktemp("keys")
    (keys / "primary").write_text(KEY)
    values = {"auth": "key", "keys_dir": keys, "path_prefix": "/flowers", "model_name": "iris"}
    return start_server(iris_folder, **values).wait_ready()


@pytest.fixture(scope="module")
def photos(start_server: Callable[..., Any], photos_folder: Path) -> Any:
    """A server of a model that takes image files."""
    return start_server(photos_folder, framework="pytorch", model_name="photos").wait_ready()


@pytest.fixture(scope="module")
def script(start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("script")
    (folder / "score.py").write_text(SCRIPT)
    return start_server(folder, framework="script", model_name="faq").wait_ready()


def test_a_key_a_table_and_probabilities(guarded: Any, visit: Callable[..., Visit]) -> None:
    one = visit(guarded, "/flowers/ui")
    credential = one.field("Key or token")
    expect(credential).to_be_focused()
    expect(one.page.get_by_text("This server wants a key or a token.")).to_be_visible()
    one.shoot("key")
    credential.fill("wrong")
    credential.press("Enter")
    expect(one.page.get_by_text("this is neither the primary nor the secondary key")).to_be_visible()
    credential.fill(KEY)
    credential.press("Enter")
    expect(one.page.get_by_role("heading", level=1)).to_have_text("iris")
    expect(one.page.get_by_role("cell", name=re.compile("^any . 4$"))).to_be_visible()
    one.send()
    rows = one.answer().locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first.get_by_role("cell")).to_have_text("0")
    expect(one.answer()).to_contain_text("Status 200")
    one.shoot("table")
    one.field("Method").select_option("predict_proba")
    one.send()
    first = one.answer().get_by_role("list").first.get_by_role("listitem")
    expect(first).to_have_count(3)
    expect(first.first).to_contain_text("class 0")
    assert first.first.locator(".bar").evaluate("bar => bar.offsetWidth") > 100
    one.shoot("probabilities")


def test_an_error_is_the_servers_own(guarded: Any, visit: Callable[..., Visit]) -> None:
    one = visit(guarded, "/flowers/ui")
    one.field("Key or token").fill(KEY)
    one.field("Key or token").press("Enter")
    for body, message in (
        ('{"data": [[1, 2]]}', "the model expects 4 features a row; got 2"),
        ("{", "the body is not JSON"),
        ("", "the body is empty"),
    ):
        one.field("JSON").fill(body)
        one.send()
        expect(one.answer().get_by_role("alert")).to_contain_text(message)
        expect(one.answer()).to_contain_text("Status 400")
    one.shoot("error")


def test_an_image(photos: Any, visit: Callable[..., Visit], tmp_path: Path) -> None:
    picture = tmp_path / "cat.png"
    Image.new("RGB", (60, 40), (200, 40, 10)).save(picture)
    one = visit(photos, color_scheme="dark")
    one.field("Image file").set_input_files(picture)
    expect(one.page.get_by_role("img", name="The chosen image")).to_be_visible()
    one.send()
    ranking = one.answer().get_by_role("listitem")
    expect(ranking).to_have_count(3)
    status, _, body = photos.request("POST", "/score", picture.read_bytes(), Content_Type="image/png")
    assert status == 200
    expected = [f"{row['label']}{row['probability'] * 100:.1f} %" for row in json.loads(body)[0]]
    assert [re.sub(r"\s*\n\s*", "", text) for text in ranking.all_text_contents()] == expected
    one.shoot("image")
    one.field("Method").select_option("predict_proba")
    one.send()
    expect(ranking).to_have_count(4)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    one.field("Image file").set_input_files(bad)
    one.send()
    expect(one.answer().get_by_role("alert")).to_contain_text("image")


def test_what_a_script_answers(script: Any, visit: Callable[..., Visit]) -> None:
    one = visit(script, viewport={"width": 360, "height": 740})
    one.field("JSON").fill('"how?"')
    one.send()
    expect(one.answer().locator("tbody tr").first).to_contain_text("reset it")
    expect(one.answer().locator("tbody .bar")).to_have_count(2)
    assert one.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    one.shoot("script")


def test_with_the_keyboard_alone(guarded: Any, visit: Callable[..., Visit]) -> None:
    one = visit(guarded, "/flowers/ui")
    keyboard = one.page.keyboard
    expect(one.field("Key or token")).to_be_focused()
    keyboard.type(KEY)
    keyboard.press("Tab")
    expect(one.page.get_by_role("button", name="Use it")).to_be_focused()
    keyboard.press("Enter")
    expect(one.page.locator("#request")).to_be_focused()
    keyboard.press("Tab")
    expect(one.field("Method")).to_be_focused()
    keyboard.press("Tab")
    expect(one.field("JSON")).to_be_focused()
    keyboard.press("Control+Enter")
    expect(one.answer().locator("tbody tr")).to_have_count(2)
    keyboard.press("Tab")
    expect(one.page.get_by_role("button", name="Send")).to_be_focused()
    keyboard.press("Space")
    expect(one.answer().locator("tbody tr")).to_have_count(2)


def test_every_field_has_a_label_and_every_text_is_easy_to_read(script: Any, visit: Callable[..., Visit]) -> None:
    """Contrast as WCAG 2.2 counts it: at least 4.5 to 1 for text, light and dark."""
    for scheme in ("light", "dark"):
        one = visit(script, color_scheme=scheme)
        one.send()
        expect(one.answer()).to_contain_text("Status 200")
        unlabelled = (
            "() => [...document.querySelectorAll('input, select, textarea')].filter(e => !e.labels.length).length"
        )
        assert one.page.evaluate(unlabelled) == 0
        assert one.page.evaluate(_CONTRASTS) == []


_CONTRASTS = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, alpha = 1] = numbers(getComputedStyle(at).backgroundColor);
      if (alpha > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const bad = [], texts = "h1, h2, p, td, th, label, summary, button, select, textarea, .share";
  for (const element of document.querySelectorAll(texts)) {
    if (!element.offsetParent) continue;
    const one = luminance(numbers(getComputedStyle(element).color)), other = luminance(ground(element));
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) bad.push(`${element.outerHTML.slice(0, 60)}: ${contrast.toFixed(2)}`);
  }
  return bad;
}"""

"""What a person sees who opens `mmts ui`: headless Chromium looks at the real pages.

`pytest tests/test_browser.py --screenshots DIR` keeps what it saw.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Command
from tests.factories import make_settings, write_world
from tests.processes import free_port, running, surroundings, wait_for

# One worker has them all: what they look at takes longer to make than to see.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 60_000  # milliseconds; a busy machine draws slowly
# MLflow opens a panel beside the page for whoever comes for the first time.
SEEN = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
REPORT = "<html><body><h1>A report</h1><p>Written by the test.</p></body></html>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install 'mmts[browser]'"
    )
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("needs a Chromium, such as Debian's: apt-get install chromium")
    # Its own sandbox refuses to work for root, as whom a container runs the tests.
    options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runs(mmts: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of runs of a training that was evaluated and registered."""
    folder = tmp_path_factory.mktemp("seen")
    settings = make_settings() | {"tracking": {}}
    settings["training"] |= {"max_epochs": 3}
    config = write_world(folder / "world", settings)
    options = ("--run-dir", "runs/one", "--register", "small", "--alias", "champion")
    for command in (("train", config, *options), ("evaluate", "runs/one/best.mmts")):
        done = mmts(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "runs"


@pytest.fixture(scope="module")
def report(runs: Path) -> str:
    """Return the path of an HTML artifact of the run; where there is none, one is put there."""
    from mlflow.tracking import MlflowClient

    from mmts.checkpoint import read_info

    run_id = read_info(runs / "one/best.mmts").run_id
    assert run_id is not None
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    pages = [file.path for file in client.list_artifacts(run_id) if file.path.endswith(".html")]
    if not pages:
        client.log_text(run_id, REPORT, "report.html")
    return pages[0] if pages else "report.html"


@pytest.fixture(scope="module")
def address(
    browser: Any, runs: Path, report: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return the page that `mmts ui` names, for as long as it shows it."""
    log, port = tmp_path_factory.mktemp("ui") / "log", free_port()
    command = [sys.executable, "-m", "pipelines.ui", "--runs", str(runs), "--port", str(port)]
    with running(command, log, surroundings(), cwd=ROOT) as process:
        wait_for(port, "/health", process, log)
        while not (found := re.search(r"^http://\S+$", log.read_text(), re.MULTILINE)):
            assert process.poll() is None, log.read_text()
        yield found[0]


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    """Return a page on which the experiment is open; at the end no request has left the machine."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.add_init_script(SEEN)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    outside = [
        url for url in asked
        if not url.startswith((address.partition("#")[0], "blob:", "data:", "about:"))
    ]  # fmt: skip
    page.close()
    assert not outside


@pytest.fixture
def run_page(page: Any, address: str) -> Any:
    """Return the page, with the run open, whichever test came before."""
    page.goto(address)
    seen(page.get_by_role("link", name="one", exact=True)).click()
    seen(page.get_by_role("heading", name="one", exact=True))
    return page


@pytest.fixture
def artifacts(run_page: Any) -> Any:
    """Return the page, with the files of the run open."""
    seen(run_page.get_by_role("tab", name="Artifacts")).click()
    return run_page


@pytest.fixture
def keep(page: Any, pytestconfig: pytest.Config, tmp_path: Path) -> Any:
    """Take a picture of the page under a name."""
    given = pytestconfig.getoption("--screenshots")
    folder = Path(given) if given else tmp_path
    folder.mkdir(parents=True, exist_ok=True)

    def take(name: str) -> None:
        page.wait_for_timeout(1000)  # until what moves has come to rest
        page.screenshot(path=folder / f"{name}.png")

    return take


def seen(found: Any) -> Any:
    """Wait until something is on the page; returns it."""
    found.first.wait_for(state="visible", timeout=WAIT)
    return found.first


def test_it_opens_on_the_experiment_of_the_project(page: Any, keep: Any, address: str) -> None:
    page.goto(address)
    seen(page.get_by_role("link", name="small-world"))
    seen(page.get_by_role("link", name="one", exact=True))
    keep("experiment")


def test_the_page_of_a_run_says_what_was_forecast(run_page: Any, keep: Any) -> None:
    seen(run_page.get_by_text("6 steps of 1h ahead"))
    seen(run_page.get_by_text("Finished", exact=True))
    seen(run_page.get_by_role("link", name="small", exact=True))
    keep("run")


def test_losses_are_drawn(run_page: Any, keep: Any) -> None:
    seen(run_page.get_by_role("tab", name="Model metrics")).click()
    seen(run_page.get_by_placeholder("Search metric charts")).fill("val/loss")
    chart = seen(run_page.locator(".js-plotly-plot"))
    assert seen(chart.locator("path.js-line")).get_attribute("d").count("L") >= 2
    keep("chart")


def test_a_picture_is_shown(artifacts: Any, keep: Any) -> None:
    seen(artifacts.get_by_text("evaluation", exact=True)).click()
    seen(artifacts.get_by_text("windows.png", exact=True)).click()
    picture = seen(artifacts.locator("img[src^='blob:']")).element_handle()
    artifacts.wait_for_function("picture => picture.naturalWidth > 400", arg=picture)
    keep("picture")


def test_a_report_is_shown(artifacts: Any, keep: Any, report: str) -> None:
    seen(artifacts.get_by_text(report, exact=True)).click()
    seen(artifacts.locator("iframe"))
    body = artifacts.frame_locator("iframe").locator("body")
    assert seen(body).inner_text(timeout=WAIT).strip()
    keep("report")


def test_the_registered_model_says_what_it_takes(page: Any, keep: Any, address: str) -> None:
    page.goto(f"{address.partition('#')[0]}#/models/small/versions/1")
    seen(page.get_by_text("champion"))
    seen(page.get_by_text("time, item, planned, shift (category)"))
    keep("model")

"""The page of a real node in a real browser, by keyboard alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from app.node import history
from app.node.records import JobState
from tests.node.node_process import NodeProcess, ended_jobs, states, wait_for
from tests.node.peers import send
from tests.node.studies import study_uid, write_study

_MOST_TABS = 60
_MOST_CHANGES = 5
Value = TypeVar("Value")


class Browser:
    """Chromium, of which only the keyboard is used.

    Args:
        driver: headless.
        pictures: folder for screenshots.
    """

    def __init__(self, driver: webdriver.Chrome, pictures: Path) -> None:
        self.driver = driver
        self._pictures = pictures

    def press(self, *keys: str) -> None:
        _on_a_page_that_stays(lambda: self.driver.switch_to.active_element.send_keys(*keys))

    def go_to(self, text: str) -> WebElement:
        """Press Tab until what has the focus says ``text``; returns that."""
        seen = []
        for _ in range(_MOST_TABS):
            self.press(Keys.TAB)
            element = self.driver.switch_to.active_element
            try:
                said = element.text or element.get_attribute("id") or ""
                outline = element.value_of_css_property("outline-style")
            except StaleElementReferenceException:
                continue
            seen.append(said)
            if text in said:
                # Whoever uses the keyboard must see where it is.
                assert outline != "none", f"{said} shows no focus"
                return element
        raise AssertionError(f"no way to {text!r} by keyboard; there is {seen}")

    def choose(self, text: str) -> None:
        def press_there() -> WebElement:
            wanted = self.go_to(text)
            before = self.driver.find_element(By.TAG_NAME, "html")
            # Fails where the page was brought up to date since, and so lost the focus.
            wanted.send_keys(Keys.ENTER)
            return before

        before = _on_a_page_that_stays(press_there)
        wait_for(lambda: is_stale(before), 20, lambda: f"{text} led nowhere")

    def text(self) -> str:
        return _on_a_page_that_stays(lambda: self.driver.find_element(By.TAG_NAME, "body").text)

    def reads(self, text: str) -> None:
        """Wait until the page says ``text``."""
        wait_for(lambda: text in self.text(), 20, self.text)

    def picture(self, name: str) -> None:
        self.driver.save_screenshot(str(self._pictures / f"{name}.png"))


def _on_a_page_that_stays(act: Callable[[], Value]) -> Value:
    """Act again where the page brought itself up to date, or changed, between find and act."""
    for _ in range(_MOST_CHANGES):
        try:
            return act()
        except StaleElementReferenceException:
            continue
    return act()


def is_stale(element: WebElement) -> bool:
    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    return False


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "out").mkdir()
    settings = {
        "completeness": [{"quiet_seconds": 4}],
        "page": {"port": 0},
        "targets": {"share": {"kind": "folder", "folder": str(folder / "out")}},
        "routes": [{"name": "diffusion", "pipelines": ["diffusion"], "targets": ["share"]}],
    }
    node = NodeProcess(folder, settings)
    node.start()
    yield node
    if node.running:
        node.kill()


@pytest.fixture(scope="module")
def browser(
    node: NodeProcess,
    tool: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Browser]:
    options = Options()
    options.binary_location = tool("chromium")
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, Service(tool("chromedriver")))
    driver.set_page_load_timeout(60)
    page = node.messages("node ready")[-1]["page"]
    driver.get(f"http://127.0.0.1:{page}/")
    kept = os.environ.get("QUANTMAP_SCREENSHOTS")
    yield Browser(driver, Path(kept) if kept else tmp_path_factory.mktemp("pictures"))
    driver.quit()


def test_queue_job_and_failure_by_keyboard(
    node: NodeProcess, browser: Browser, tmp_path: Path
) -> None:
    ledger = node.ledger()
    # One job that is done.
    send(node.port, write_study(tmp_path / "1", 1))
    ended_jobs(ledger, 1)
    # One whose worker is killed; a new worker takes its time to load.
    kill_worker(node)
    send(node.port, write_study(tmp_path / "2", 2))

    def running() -> bool:
        found = history.jobs(ledger, search=study_uid(2))
        return bool(found) and found[0].state is JobState.RUNNING

    wait_for(running, 60, lambda: states(ledger))
    browser.choose("Now")
    browser.picture("queue")
    wait_for(lambda: node.worker() is not None, 20, lambda: "no worker")
    kill_worker(node)
    ended_jobs(ledger, 2)
    (done,) = history.jobs(ledger, states=[JobState.DONE])
    (failed,) = history.jobs(ledger, states=[JobState.FAILED])

    browser.choose("Jobs")
    browser.reads(done.id[:8])
    browser.reads("SIGKILL")
    browser.picture("jobs")
    browser.choose(done.id[:8])
    for said in ("Maps", "Steps", "share", "delivered", "A1"):
        browser.reads(said)
    shown = browser.driver.find_elements(By.CSS_SELECTOR, ".maps img")
    assert shown
    wait_for(
        lambda: browser.driver.execute_script(
            "return [...document.querySelectorAll('.maps img')].slice(0, 2)"
            ".every(image => image.complete && image.naturalWidth > 0)"
        ),
        30,
        lambda: "a preview is not shown",
    )
    browser.picture("job")

    browser.go_to("search")
    browser.press("A2", Keys.ENTER)
    browser.reads(failed.id[:8])
    browser.choose(failed.id[:8])
    browser.reads("SIGKILL")
    browser.picture("failure")
    browser.choose("Run again")
    ended_jobs(ledger, 3)
    assert sorted(job.state for job in history.jobs(ledger)) == ["done", "done", "failed"]
    assert "javascript" not in browser.driver.page_source.lower()


def kill_worker(node: NodeProcess) -> None:
    worker = node.worker()
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: node.worker() != worker, 20, lambda: "it is still there")


def test_at_phone_width_nothing_leaves_the_screen(browser: Browser) -> None:
    browser.driver.set_window_size(500, 900)
    browser.choose("Jobs")
    width, visible = browser.driver.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= visible
    browser.picture("phone")

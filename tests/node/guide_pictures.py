"""Makes the pictures of docs/user_guide.md: ``python -m tests.node.guide_pictures docs/pictures``.

Every study is simulated. A real node receives, runs and shows them; Chromium takes the pictures.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from pydicom import dcmread
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from app.demo.coarse_maps import write_coarse_study
from app.demo.study import write_study as write_demo_study
from app.node import history
from app.node.records import JobState, NodeJob
from tests.node.node_process import NodeProcess, ended_jobs, states, wait_for
from tests.node.peers import send
from tests.node.studies import write_study

_WIDTH, _HEIGHT = 1200, 1000
_SUMMARY_WIDTH = 1500
_QUALITY = 82
_UNWEIGHTED = 3
_SECONDS = 900
_SHOWN = (
    "return [...document.images].every(image => image.complete"
    " || image.getBoundingClientRect().top > innerHeight)"
)
"""Whether every picture that the window shows has been loaded."""


def main() -> None:
    """Write the pictures into the folder that the command line names."""
    (pictures,) = map(Path, sys.argv[1:])
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running_node(Path(folder)) as node:
        show(node, Path(folder), pictures)


@contextmanager
def running_node(folder: Path) -> Iterator[NodeProcess]:
    """A node that runs every pipeline and delivers to a folder."""
    (folder / "archive").mkdir()
    settings = {
        "name": "node-1",
        "completeness": [{"quiet_seconds": 30}],
        "page": {"port": 0},
        "targets": {"archive": {"kind": "folder", "folder": str(folder / "archive")}},
        "routes": [{"name": "head", "targets": ["archive"]}],
    }
    node = NodeProcess(folder, settings, results={"summary": True})
    node.start()
    try:
        yield node
    finally:
        node.kill()


def show(node: NodeProcess, folder: Path, pictures: Path) -> None:
    """Send the studies, and take a picture of what there is to see at each station."""
    ledger = node.ledger()
    write_demo_study(folder / "demo")
    send(node.port, named(folder / "demo", "DEMO-1"))
    ended_jobs(ledger, 1, _SECONDS)
    # Too few directions for a tensor: a study that must be refused.
    refused = write_study(folder / "refused", 2)
    few = [file for file in refused if directions_before(file) < _UNWEIGHTED]
    send(node.port, named(folder / "refused", "DEMO-2", few))
    ended_jobs(ledger, 2, _SECONDS)

    write_coarse_study(folder / "maps")
    send(node.port, named(folder / "maps", "DEMO-3"))

    def sharpening() -> bool:
        return any(job.state is JobState.RUNNING for job in history.queue(ledger))

    wait_for(sharpening, 120, lambda: states(ledger))
    waiting = write_study(folder / "waiting", 4)
    send(node.port, named(folder / "waiting", "DEMO-4", waiting[:12]))
    address = f"http://127.0.0.1:{node.messages('node ready')[-1]['page']}"
    with browser() as driver:
        take(driver, f"{address}/?still=true", pictures / "node_now.jpg")
        jobs = {job.accession_number: job for job in ended_jobs(ledger, 4, _SECONDS)}
        driver.set_window_size(_WIDTH, 1500)
        take(driver, f"{address}/jobs/{jobs['DEMO-1'].id}", pictures / "node_job.jpg")
        driver.set_window_size(_WIDTH, 950)
        take(driver, f"{address}/jobs/{jobs['DEMO-2'].id}", pictures / "node_refused.jpg")
    for accession, name, pipeline in (
        ("DEMO-1", "diffusion", "diffusion"),
        ("DEMO-1", "cest_mt", "cest_mt-series-3"),
        ("DEMO-3", "superres", "superres"),
    ):
        page = summary(node, jobs[accession], pipeline)
        page.thumbnail((_SUMMARY_WIDTH, _SUMMARY_WIDTH))
        page.save(pictures / f"summary_{name}.jpg", quality=_QUALITY, optimize=True)


def named(folder: Path, accession: str, files: list[Path] | None = None) -> list[Path]:
    """Files of a folder, with an Accession Number by which the page shows them."""
    chosen = files or sorted(folder.rglob("*.dcm"))
    for file in chosen:
        data_set = dcmread(file)
        data_set.AccessionNumber = accession
        data_set.SeriesDescription = data_set.SeriesDescription.replace("SECRET DESCRIPTION", "dwi")
        data_set.save_as(file)
    return chosen


def directions_before(file: Path) -> int:
    """Place of the volume of a file in its series, from 0."""
    return (int(dcmread(file).InstanceNumber) - 1) // 3


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Headless Chromium."""
    options = Options()
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    driver.set_window_size(_WIDTH, _HEIGHT)
    try:
        yield driver
    finally:
        driver.quit()


def take(driver: webdriver.Chrome, address: str, file: Path) -> None:
    """A picture of a page once all of its own pictures are there."""
    driver.get(address)
    wait_for(lambda: driver.execute_script(_SHOWN), 60, lambda: "a picture is missing")
    png = file.with_suffix(".png")
    driver.save_screenshot(str(png))
    Image.open(png).convert("RGB").save(file, quality=_QUALITY, optimize=True)
    png.unlink()


def summary(node: NodeProcess, job: NodeJob, pipeline: str) -> Image.Image:
    """The summary page of a job's result."""
    (page,) = (node.folder / "results" / job.result_folder).glob(f"{pipeline}*/summary.png")
    return Image.open(page).convert("RGB")


if __name__ == "__main__":
    main()

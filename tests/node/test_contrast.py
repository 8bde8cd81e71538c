"""The contrast explorer of the page: pictures of python -m app.synthetic, or why not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import update

from app.node.ledger import Ledger, sqlite_url
from app.node.page.application import Parts, create_app
from app.node.page.contrast import ContrastError, asked_contrast, contrast_picture
from app.node.page.settings import PageSettings
from app.node.tables import JOBS
from app.result_file import FILE_NAME, OutputEntry, ResultFile
from app.synthetic import main as synthetic
from tests.node.page_history import DONE_JOB, FAILED_JOB, RUNNING_JOB, fill
from tests.superres_phantom_study import simulated, write_maps

FOLDER = "results-with-maps"
JOB = FAILED_JOB


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of results; those of one job are maps of a phantom."""
    folder = tmp_path_factory.mktemp("results")
    write_maps(folder / FOLDER, simulated((4, 48, 48)))
    names = ("proton_density", "t1", "t2")
    outputs = tuple(OutputEntry(path=f"{n}.dcm", kind="parametric map", quantity=n) for n in names)
    result = ResultFile(status="success", exit_status=0, started="", finished="", outputs=outputs)
    (folder / FOLDER / FILE_NAME).write_text(result.to_json())
    return folder


@pytest.fixture
def client(results: Path, tmp_path: Path):
    ledger = Ledger(sqlite_url(tmp_path / "ledger.sqlite"))
    fill(ledger, tmp_path / "others")
    with ledger.write() as connection:
        row = update(JOBS).where(JOBS.c.id == JOB).values(result_folder=FOLDER)
        connection.execute(row)
    app = create_app(Parts(ledger, None, results, PageSettings(), "node", list))
    yield TestClient(app, base_url="http://localhost")
    ledger.close()


def test_the_picture_is_the_middle_slice_of_the_command(client, results, tmp_path):
    asked = "contrast=t1w&repetition_time=600&echo_time=12"
    answer = client.get(f"/jobs/{JOB}/contrast.png?{asked}")
    assert answer.headers["content-type"] == "image/png"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)))
    options = ["--contrast", "t1w", "--tr", "600", "--te", "12"]
    assert synthetic([str(results / FOLDER), "-o", str(tmp_path / "images"), *options]) == 0
    files = sorted((tmp_path / "images").rglob("*.dcm"))
    middle = pydicom.dcmread(files[len(files) // 2])
    assert (middle.RepetitionTime, middle.EchoTime) == (600, 12)
    assert abs(middle.ImagePositionPatient[2] - pydicom.dcmread(files[1]).ImagePositionPatient[2])
    rows, columns = (np.arange(n) * middle.Rows // n for n in shown.shape)
    expected = np.clip(middle.pixel_array / middle.WindowWidth, 0, 1)[np.ix_(rows, columns)] * 255
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.99


def test_the_page_asks_says_synthetic_and_links_to_the_picture(client):
    assert f"/jobs/{JOB}/contrast" in client.get(f"/jobs/{JOB}").text
    text = client.get(f"/jobs/{JOB}/contrast?contrast=t2w&echo_time=90&inversion_time=").text
    assert "nobody acquired it" in text
    assert "contrast.png?contrast=t2w" in text
    assert "echo_time=90" in text
    assert "inversion_time=" not in text.partition("contrast.png?")[2].partition('"')[0]
    assert 'value="90"' in text
    assert "TR 9000, TE 100, TI 2500 ms" in client.get(f"/jobs/{JOB}/contrast").text


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"contrast": "t3w"}, "one of t1w, t2w, pdw, flair"),
        ({"contrast": "t1w", "repetition_time": "5", "echo_time": "10"}, "shorter"),
        ({"contrast": "t1w", "repetition_time": "-5"}, "greater than 0"),
        ({"contrast": "t1w", "repetition_time": "<b>"}, "valid number"),
        ({"contrast": "flair", "inversion_time": "1e9"}, "shorter"),
    ],
)
def test_what_does_not_go_together_is_said_and_not_computed(client, parameters, said):
    with pytest.raises(ContrastError, match=said):
        asked_contrast(parameters)
    answer = client.get(f"/jobs/{JOB}/contrast", params=parameters)
    assert answer.status_code == 400
    assert said in answer.text
    assert "contrast.png" not in answer.text
    assert "<b>" not in answer.text
    assert client.get(f"/jobs/{JOB}/contrast.png", params=parameters).status_code == 409


def test_other_jobs_have_none(client):
    for job in (DONE_JOB, RUNNING_JOB, "nobody"):
        assert client.get(f"/jobs/{job}/contrast").status_code == 404
        assert client.get(f"/jobs/{job}/contrast.png").status_code == 404
    assert "/contrast" not in client.get(f"/jobs/{DONE_JOB}").text


def test_maps_that_cannot_be_used_are_refused_in_words(tmp_path):
    with pytest.raises(ContrastError, match="refused: "):
        contrast_picture(tmp_path, asked_contrast({}))

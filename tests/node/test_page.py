"""The page and its interfaces: what they show, whom they answer, and what they never do."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.node.commands import CommandError
from app.node.ledger import Ledger, sqlite_url
from app.node.page.application import Parts, create_app
from app.node.page.settings import PageSettings
from app.result_file import ResultFile
from tests.node.page_history import (
    ACCESSION,
    DONE_JOB,
    FAILED_JOB,
    HOSTILE,
    RESULTS_OF_DONE,
    RUNNING_JOB,
    STUDY,
    fill,
    write_map,
)

_OPEN = PageSettings()
TOKEN = "a-token-of-a-test-0123"


class RecordedCommands:
    """Commands that only remember what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def cancel(self, job):
        self.asked.append(("cancel", job))

    def rerun(self, job, by=""):
        if job == RUNNING_JOB:
            raise CommandError(f"job {job} is running; wait for its end, or cancel it")
        self.asked.append(("rerun", job, by))
        return FAILED_JOB

    def resend(self, job, target=None):
        self.asked.append(("resend", job, target))

    def complete_now(self, collection):
        self.asked.append(("complete", collection))

    def order(self, study, **order):
        self.asked.append(("order", study, order["key"], order["ordered_by"]))
        return DONE_JOB


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(sqlite_url(tmp_path / "ledger.sqlite"))
    fill(opened, tmp_path / "results")
    yield opened
    opened.close()


@pytest.fixture
def commands():
    return RecordedCommands()


@pytest.fixture
def client(ledger, commands, tmp_path):
    def make(settings=_OPEN, problems=lambda: [], **options):
        parts = Parts(ledger, commands, tmp_path / "results", settings, "node", problems, **options)
        return TestClient(create_app(parts), base_url="http://localhost", follow_redirects=False)

    return make


def test_what_happens_now_is_on_the_first_page(client):
    text = client().get("/").text
    for shown in ("ACC-9", "Take as complete", DONE_JOB[:8], RUNNING_JOB[:8], "pacs", "urgent"):
        assert shown in text


def test_a_page_can_be_told_to_stay_still(client):
    assert 'http-equiv="refresh"' in client().get("/").text
    assert 'http-equiv="refresh"' not in client().get("/?still=true").text
    running = client().get(f"/jobs/{RUNNING_JOB}").text
    assert 'http-equiv="refresh"' in running
    assert "?still=true" in running
    assert 'http-equiv="refresh"' not in client().get(f"/jobs/{DONE_JOB}").text


def test_what_stands_in_the_ledger_is_text_and_never_markup(client):
    pages = [client().get(path).text for path in ("/", "/jobs", f"/jobs/{DONE_JOB}")]
    assert not any(HOSTILE in page for page in pages)
    assert all("&lt;script&gt;" in page for page in pages)


def test_a_job_says_why_it_failed(client):
    assert "ended by SIGKILL" in client().get(f"/jobs/{FAILED_JOB}").text


def test_a_job_shows_maps_with_window_and_unit_findings_refusals_and_deliveries(client):
    text = client().get(f"/jobs/{DONE_JOB}").text
    for shown in (
        *("Fractional Anisotropy", "0.00 to 1.00", "noise floor", "a tensor needs 6"),
        *("connection refused", "dwi b1000", "Send again"),
    ):
        assert shown in text


def test_a_preview_is_a_picture_with_square_millimetres(client):
    answer = client().get(f"/jobs/{DONE_JOB}/preview/0.png")
    assert answer.headers["content-type"] == "image/png"
    width, height = Image.open(io.BytesIO(answer.content)).size
    # 20 rows of 2 mm, 16 columns of 1 mm.
    assert height / width == pytest.approx(40 / 16, rel=0.02)


def test_a_preview_shows_the_values(client, tmp_path):
    values = np.zeros((3, 8, 8))
    values[1, :, 4:] = 1.0
    write_map(tmp_path / "results" / RESULTS_OF_DONE / "fa.dcm", values)
    png = client().get(f"/jobs/{DONE_JOB}/preview/0.png").content
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert pixels[:, : pixels.shape[1] // 2 - 1].max() < 10
    assert pixels[:, pixels.shape[1] // 2 + 1 :].min() > 245


@pytest.mark.parametrize(
    "path",
    [
        f"/jobs/{DONE_JOB}/preview/7.png",
        f"/jobs/{DONE_JOB}/file/-1",
        f"/jobs/{FAILED_JOB}/file/0",
        "/jobs/nothing",
    ],
)
def test_what_is_not_there_is_said_to_be_missing(client, path):
    assert client().get(path).status_code == 404


def test_no_link_leads_out_of_the_results(client, tmp_path):
    secret = tmp_path / "secret.dcm"
    write_map(secret, np.zeros((1, 2, 2)))
    shown = tmp_path / "results" / RESULTS_OF_DONE / "fa.dcm"
    shown.unlink()
    shown.symlink_to(secret)
    assert client().get(f"/jobs/{DONE_JOB}/file/0").status_code == 404


@pytest.mark.parametrize("search", [ACCESSION, STUDY, DONE_JOB[:6], f"{STUDY}.9.1"])
def test_jobs_are_found_by_accession_number_uid_and_id(client, search):
    found = client().get("/api/jobs", params={"search": search}).json()["jobs"]
    assert [one["id"] for one in found] == [DONE_JOB]


def test_forms_do_what_they_say(client, commands):
    page = client()
    answer = page.post(f"/jobs/{DONE_JOB}/rerun")
    assert answer.headers["location"] == f"/jobs/{FAILED_JOB}"
    page.post(f"/jobs/{DONE_JOB}/resend", data={"target": "pacs"})
    page.post(f"/jobs/{RUNNING_JOB}/cancel")
    page.post("/receiving/complete", data={"key": "1.2.3"})
    assert commands.asked == [
        ("rerun", DONE_JOB, "local user"),
        ("resend", DONE_JOB, "pacs"),
        ("cancel", RUNNING_JOB),
        ("complete", "1.2.3"),
    ]


def test_what_cannot_be_done_is_explained(client):
    answer = client().post(f"/jobs/{RUNNING_JOB}/rerun")
    assert answer.status_code == 409
    assert "wait for its end" in answer.text
    answer = client().post(f"/api/jobs/{RUNNING_JOB}/rerun")
    assert answer.status_code == 409
    assert "wait for its end" in answer.json()["detail"]


def test_actions_are_told_with_whoever_asked(client):
    told = []
    page = client(
        PageSettings(token=TOKEN), on_action=lambda user, action, what: told.append((user, action))
    )
    page.post(f"/api/jobs/{DONE_JOB}/rerun", headers={"Authorization": f"Bearer {TOKEN}"})
    assert told == [("token", "rerun")]


def test_with_a_token_nothing_is_shown_without(client):
    page = client(PageSettings(token=TOKEN))
    for path in ("/", "/jobs", f"/jobs/{DONE_JOB}", f"/jobs/{DONE_JOB}/preview/0.png"):
        answer = page.get(path)
        assert answer.status_code == 401
        assert "Sign in" in answer.text
        assert ACCESSION not in answer.text
    assert page.get("/api/jobs").status_code == 401
    assert page.get("/metrics").status_code == 401
    assert page.get("/api/jobs", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert page.get("/api/jobs", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert page.get("/healthz").status_code == 200


def test_signing_in_opens_a_session_and_a_new_token_ends_it(client):
    page = client(PageSettings(token=TOKEN))
    assert page.post("/sign-in", data={"token": "no"}).status_code == 401
    answer = page.post("/sign-in", data={"token": TOKEN, "after": f"/jobs/{DONE_JOB}"})
    assert answer.headers["location"] == f"/jobs/{DONE_JOB}"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert page.get("/").status_code == 200
    other = client(PageSettings(token=TOKEN + "-new"))
    other.cookies = page.cookies
    assert other.get("/").status_code == 401


def test_a_forged_or_expired_session_is_none(client, monkeypatch):
    page = client(PageSettings(token=TOKEN, session_hours=1))
    page.post("/sign-in", data={"token": TOKEN})
    value = page.cookies["quantmap_session"]
    until, _, signature = value.partition(".")
    other = client(PageSettings(token=TOKEN, session_hours=1))

    def status(cookie):
        return other.get("/", headers={"Cookie": f"quantmap_session={cookie}"}).status_code

    assert status(value) == 200
    assert status(f"{int(until) + 99}.{signature}") == 401
    monkeypatch.setattr(time, "time", lambda: float(until) + 1)
    assert status(value) == 401


@pytest.mark.parametrize("after", ["https://evil.test/", "//evil.test", "/\\evil.test"])
def test_signing_in_leads_nowhere_else(client, after):
    page = client(PageSettings(token=TOKEN))
    answer = page.post("/sign-in", data={"token": TOKEN, "after": after})
    assert answer.headers["location"] == "/"


def test_a_proxy_is_believed_only_where_it_is_trusted(client):
    named = {"X-Remote-User": "radiographer"}
    trusting = PageSettings(user_header="X-Remote-User", trusted_proxies=["10.0.0.0/8"])
    assert client(trusting).get("/", headers=named).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.test"},
    ],
)
def test_a_foreign_page_cannot_make_a_browser_act(client, commands, headers):
    assert client().post(f"/jobs/{DONE_JOB}/rerun", headers=headers).status_code == 403
    assert commands.asked == []


def test_a_foreign_name_that_points_here_is_not_served(client):
    assert client().get("/", headers={"Host": "evil.test"}).status_code == 403
    assert (
        client(PageSettings(names=["quantmap.test"]))
        .get("/", headers={"Host": "quantmap.test:8080"})
        .status_code
        == 200
    )


def test_a_page_for_the_network_needs_somebody_to_sign_in(client):
    with pytest.raises(ValueError, match="nobody would have to sign in"):
        client(PageSettings(host="0.0.0.0"))
    client(PageSettings(host="0.0.0.0", token=TOKEN))


def test_a_trusted_header_needs_its_proxies():
    with pytest.raises(ValueError, match="needs trusted_proxies"):
        PageSettings(user_header="X-Remote-User")


def test_readiness_names_what_is_wrong(client):
    assert client().get("/readyz").status_code == 200
    answer = client(problems=lambda: ["the disk is almost full"]).get("/readyz")
    assert answer.status_code == 503
    assert "the disk is almost full" in answer.text


def test_metrics_are_in_prometheus_form(client):
    from prometheus_client.parser import text_string_to_metric_families

    text = client(PageSettings(token=TOKEN, open_metrics=True)).get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    jobs = {one.labels["state"]: one.value for one in families["quantmap_jobs"].samples}
    assert (jobs["done"], jobs["failed"], jobs["running"]) == (1, 1, 1)
    waiting = {
        one.labels["state"]: one.value
        for one in families["quantmap_deliveries"].samples
        if one.labels["target"] == "pacs"
    }
    assert waiting == {"waiting": 1, "delivered": 1, "failed": 0}
    assert "process_resident_memory_bytes" in families


def test_the_json_interface_is_described_and_answers_as_described(client):
    page = client()
    described = page.get("/api/openapi.json").json()
    assert "/api/jobs/{job}/rerun" in described["paths"]
    detail = page.get(f"/api/jobs/{DONE_JOB}").json()
    assert detail["job"]["accession_number"] == ACCESSION
    assert [step["name"] for step in detail["steps"]] == ["stage", "run", "deliver"]
    assert ResultFile.model_validate(detail["result"]).refusals[0].rule == "too-few-directions"
    assert page.get("/api/receiving").json()[0]["objects"] == 42
    assert page.get("/api/targets").json()[0]["name"] == "pacs"
    assert page.get("/api/machines").json()[0]["name"] == "node"


def test_an_order_is_passed_on(client, commands):
    order = {"study_instance_uid": STUDY, "key": "order-1"}
    assert client().post("/api/orders", json=order).json() == {"job": DONE_JOB}
    assert commands.asked == [("order", STUDY, "order-1", "local user")]


def test_every_page_forbids_scripts_and_frames(client):
    for path in ("/", "/jobs", f"/jobs/{DONE_JOB}", "/jobs/nothing"):
        policy = client().get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy


def test_the_history_is_paged_without_gaps(ledger, tmp_path, client):
    fill_more = Ledger(sqlite_url(tmp_path / "more.sqlite"))
    fill(fill_more, tmp_path / "more", more_jobs=130)
    parts = Parts(
        fill_more, RecordedCommands(), tmp_path / "more", PageSettings(), "node", lambda: []
    )
    page = TestClient(create_app(parts), base_url="http://localhost")
    seen, parameters = [], {}
    while True:
        answer = page.get("/api/jobs", params=parameters | {"limit": 40}).json()
        seen += [one["id"] for one in answer["jobs"]]
        parameters = answer["next"]
        if not parameters:
            break
    assert len(seen) == len(set(seen)) == 133
    fill_more.close()

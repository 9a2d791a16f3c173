"""The page behind "Staged data": what was staged, for those who may, and nothing they can abuse."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi import Depends, FastAPI, HTTPException

from tidegate import objects, page, stage
from tidegate.model import Check, Increment, Mode, Request, StagedPage, Watermark, Window

HOSTILE = "<script>alert('x')</script>\"&<img src=x onerror=y>"
INCREMENT = Increment(
    request=Request(HOSTILE, HOSTILE, Mode.WINDOW, Window(HOSTILE, HOSTILE)),
    step=HOSTILE, where="", origin="", columns=({"name": HOSTILE, "type": "int64",
    "nullable": False},), pages=(), read=7, generation=1, low=Watermark(HOSTILE),
    high=Watermark(HOSTILE), observed_at=HOSTILE, cleaned=((HOSTILE, 3),),
    checks=(Check(HOSTILE, {HOSTILE: HOSTILE}, 12_345, 2),), notes=(HOSTILE,), bound=HOSTILE,
    census={HOSTILE: 3}, gone=StagedPage(HOSTILE, 4, ""),
)  # fmt: skip


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Increment:
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path))
    writer = stage.Writer(str(tmp_path / "<b>staged"))
    writer.write(pa.table({"_held": pa.array(["[]", None], pa.string()), "_token": [1, 2]}))
    return writer.close(INCREMENT)


@dataclass
class Client:
    """Asks *app* as a server would."""

    app: FastAPI

    def get(self, place: str, method: str = "GET") -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, place)

        return asyncio.run(ask())


def client(increment: Increment, allow: bool = True) -> Client:
    """The page over one task, behind a door."""

    def guard() -> None:
        if not allow:
            raise HTTPException(401, "who are you?")

    staged = {"return_value": {"where": increment.where}}
    known: dict[tuple[str, str, str, int], Mapping[str, Any]] = {
        ("dag", "manual__2026-03-01T00:00:00+00:00", "pull", -1): staged,
        ("dag", "run", HOSTILE.replace("/", ""), -1): staged,
        ("dag", "run", "chunk.pull", 3): staged,
        ("dag", "run", "chunk.pull", 4): {"progress": {"text": f"{HOSTILE} 7 rows"}},
        ("dag", "run", "strange", -1): {"return_value": [1], "progress": 2},
    }
    app = page.create(lambda *task: known.get(task, {}), [Depends(guard)])
    return Client(app)


PLACE = "/staged/dag/manual__2026-03-01T00:00:00+00:00/pull"


def test_it_shows_what_was_staged_and_escapes_every_word_of_it(staged: Increment) -> None:
    answer = client(staged).get(PLACE)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for shown in ("12345", "&lt;script&gt;", staged.pages[0].digest, "page-00000.parquet"):
        assert shown in answer.text
    for raw in ("<script", "<img", "<b>"):
        assert raw not in answer.text


def test_the_address_is_escaped_too(staged: Increment) -> None:
    answer = client(staged).get("/staged/dag/run/" + HOSTILE.replace("/", "%2F").replace("%2F", ""))
    assert answer.status_code == 200
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text
    nothing = client(staged).get("/staged/<script>/run/pull")
    assert nothing.status_code == 404
    assert "<script" not in nothing.text


def test_a_chunk_shows_what_it_staged_or_how_far_it_is(staged: Increment) -> None:
    served = client(staged)
    place = "/staged/dag/run/chunk.pull?map_index="
    done, under_way, other = (served.get(f"{place}{index}") for index in (3, 4, 5))
    assert (done.status_code, "page-00000.parquet" in done.text) == (200, True)
    assert (under_way.status_code, "7 rows" in under_way.text) == (200, True)
    assert "<script" not in under_way.text
    assert other.status_code == 404
    assert served.get("/staged/dag/run/strange").status_code == 404


def test_every_answer_forbids_scripts_frames_and_guessing(staged: Increment) -> None:
    served = client(staged)
    answers = [served.get(PLACE), served.get("/staged/dag/run/nothing")]
    assert [answer.status_code for answer in answers] == [200, 404]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_not_there_is_404(staged: Increment) -> None:
    served = client(staged)
    nothing = served.get("/staged/dag/run/pull")
    assert (nothing.status_code, "staged nothing" in nothing.text) == (404, True)
    (objects.path(staged.where) / "manifest.json").unlink()
    swept = served.get(PLACE)
    assert (swept.status_code, "removed by the janitor" in swept.text) == (404, True)
    for other in ("/", "/staged", "/staged/dag", "/docs", "/redoc", "/openapi.json"):
        assert served.get(other).status_code == 404
    assert served.get(PLACE, "POST").status_code == 405


def test_what_does_not_lie_in_the_stage_is_not_opened(staged: Increment) -> None:
    """Whoever may write an XCom can put any address there."""
    root, name = staged.where.rsplit("/", 1)
    elsewhere = stage.Writer(f"{root}-other/secret").close(INCREMENT).where
    for where in (elsewhere, f"{root}/../{elsewhere.split('/', 2)[-1]}", f"{root}/x/../{name}",
                  f"file://{staged.where}", "http://127.0.0.1:1/", "/etc", ""):  # fmt: skip
        answer = client(replace(staged, where=where)).get(PLACE)
        assert (answer.status_code, "staged nothing" in answer.text) == (404, True), where


def test_who_may_not_look_sees_nothing_on_any_route(staged: Increment) -> None:
    refused = client(staged, allow=False)
    paths = [getattr(route, "path", "") for route in refused.app.routes]
    assert paths == ["/staged/{dag_id}/{dag_run_id}/{task_id}"]
    for place in (PLACE, "/staged/dag/run/nothing"):
        answer = refused.get(place)
        assert answer.status_code == 401
        assert "page-0000" not in answer.text


def test_long_increments_are_cut_short_on_the_page(staged: Increment) -> None:
    many = replace(staged, pages=tuple(staged.pages) * 1000)
    assert page.summary(many).count("page-00000.parquet") == 200
    assert "<td>1000</td>" in page.summary(many)

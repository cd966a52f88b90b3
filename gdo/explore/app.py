"""The web application: each address asks one function of this package, and tells its answer as JSON."""

from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from gdo.errors import GdoError, UsageError
from gdo.explore.compare import compare_subsets
from gdo.explore.filters import Filter, Membership
from gdo.explore.guard import Guard
from gdo.explore.look import ListAsked, PageAsked, count_facets, find_page
from gdo.explore.sample import find_neighbours, tell_sample
from gdo.explore.save import save_subset
from gdo.explore.state import Explorer

PAGES = ("index.html", "app.js", "compare.js", "parts.js", "sample.js", "style.css", "icon.svg")
"""Files in `static`; the first is the page itself."""
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_SUBSETS = """
SELECT subset, preset, strftime(created, '%Y-%m-%d %H:%M') AS created,
    (SELECT count(*) FROM subset_sample AS m WHERE m.subset = s.subset AND role = 'chosen') AS chosen,
    (SELECT count(*) FROM subset_sample AS m WHERE m.subset = s.subset AND role = 'uniform') AS uniform
FROM subset AS s ORDER BY s.created, s.subset
"""

Uid = Annotated[str, Query(max_length=10_000)]


class CompareAsked(BaseModel):
    """Two subsets to hold against each other."""

    model_config = ConfigDict(extra="forbid")

    first: Membership
    second: Membership


class SaveAsked(BaseModel):
    """A list to save as a subset."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)
    list: ListAsked


class Json(Response):
    """An answer as JSON; NaN and the infinities, which it lacks, are null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The content as JSON."""
        return orjson.dumps(content, default=str, option=orjson.OPT_SERIALIZE_NUMPY)


def make_app(explorer: Explorer, token: str) -> FastAPI:
    """The application over a pool.

    Args:
        explorer: The pool.
        token: What a browser must bring to be answered.
    """
    app = FastAPI(title="gdo explore", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, token=token)
    app.add_exception_handler(GdoError, _tell_error)
    app.add_exception_handler(RequestValidationError, _tell_wrong_request)
    for file in PAGES:
        app.get("/" if file == PAGES[0] else f"/{file}")(_page(file))
    _add_lists(app, explorer)
    _add_samples(app, explorer)
    _add_media(app, explorer)
    return app


def _add_lists(app: FastAPI, explorer: Explorer) -> None:
    @app.get("/api/pool")
    def pool() -> Json:
        return Json(_tell_pool(explorer))

    @app.post("/api/refresh")
    def refresh() -> Json:
        explorer.refresh()
        return Json(_tell_pool(explorer))

    @app.post("/api/page")
    def page(asked: PageAsked) -> Json:
        return Json(find_page(explorer.snapshot, asked))

    @app.post("/api/facets")
    def facets(asked: Filter) -> Json:
        return Json(count_facets(explorer.snapshot, asked))

    @app.post("/api/compare")
    def compare(asked: CompareAsked) -> Json:
        return Json(compare_subsets(explorer.snapshot, asked.first, asked.second))

    @app.post("/api/save")
    def save(asked: SaveAsked) -> Json:
        return Json(save_subset(explorer, asked.name, asked.list))


def _add_samples(app: FastAPI, explorer: Explorer) -> None:
    @app.get("/api/sample")
    def sample(uid: Uid) -> Json:
        return Json(tell_sample(explorer.snapshot, uid))

    @app.get("/api/neighbours")
    def neighbours(uid: Uid) -> Json:
        return Json(find_neighbours(explorer.snapshot, uid))

    @app.get("/api/explain")
    def explain(uid: Uid, subset: Uid) -> Json:
        return Json(asdict(explorer.explain(subset, uid)))


def _add_media(app: FastAPI, explorer: Explorer) -> None:
    @app.get("/api/media/{media_id}")
    def medium(media_id: int, frames: int = 8, side: int = 480) -> Json:
        strip = explorer.strip(media_id, frames, side)
        return Json({"indices": strip.indices, "times": strip.times, "error": strip.error})

    @app.get("/media/{media_id}/frame/{number}")
    def frame(media_id: int, number: int, frames: int = 8, side: int = 480) -> Response:
        strip = explorer.strip(media_id, frames, side)
        if not strip.pictures:
            return Response(status_code=404)
        picture = strip.pictures[min(max(number, 0), len(strip.pictures) - 1)]
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @app.get("/media/{media_id}/video")
    def video(media_id: int) -> Response:
        file, kind = explorer.video(media_id)
        return FileResponse(file, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})


def _tell_pool(explorer: Explorer) -> dict[str, Any]:
    snapshot = explorer.snapshot
    return {
        "pool": str(explorer.pool.path),
        "samples": snapshot.arrays.samples,
        "writes": explorer.writes,
        "stale": snapshot.is_stale(),
        "columns": [asdict(column) for column in snapshot.columns],
        "numbers": snapshot.arrays.numbers,
        "facets": [{"name": f.name, "label": f.label} for f in snapshot.arrays.facets.values()],
        "subsets": snapshot.ask(_SUBSETS),
    }


def _page(file: str) -> Callable[[], Response]:
    def page() -> Response:
        content = (resources.files("gdo.explore") / "static" / file).read_bytes()
        return Response(content, media_type=_TYPES[file.rpartition(".")[2]])

    return page


def _tell_error(_: Request, error: Exception) -> Response:
    return Json({"error": str(error)}, 400 if isinstance(error, UsageError) else 500)


def _tell_wrong_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    return Json({"error": f"the request is wrong: {told}"}, 422)

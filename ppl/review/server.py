"""The page's server: for one person on this machine, and nobody else.

It listens on 127.0.0.1, at a free port. Everything lies below a random token, which the URL holds.
What comes from elsewhere, or by another name of this machine, gets 403: another site cannot read a
reviewer's images, nor decide anything. Images are asked for by their number, never by a path.
"""

import json
import secrets
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.resources import files
from typing import Any, TypeVar

from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from ppl.core.errors import InputError
from ppl.review.decisions import DECISIONS
from ppl.review.items import Item
from ppl.review.pictures import Sent, for_browser, read_indices, shown_size, thumbnail
from ppl.review.review import ConflictError, Review, State

HOST = "127.0.0.1"

STATIC = {
    "icon.svg": "image/svg+xml",
    "page.html": "text/html; charset=utf-8",
    "review.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "mask.js": "text/javascript; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
    "loader.js": "text/javascript; charset=utf-8",
}

MOST_PHOTOS = 12
"""Other photos of a part beside an image."""

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_CONFLICT, _MENDABLE, _NOT_WRITTEN = 409, 422, 507

_Answer = TypeVar("_Answer")


class Site:
    """The WSGI application. `open_server` makes it and listens."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self.token = secrets.token_urlsafe(24)
        self.port = 0
        """Of the server; requests that name another one are refused."""
        self._urls = Map(
            [
                Rule("/", endpoint=self._page, methods=["GET"]),
                Rule("/static/<name>", endpoint=self._static, methods=["GET"]),
                Rule("/queue", endpoint=self._queue, methods=["GET"]),
                Rule("/items/<int:index>", endpoint=self._item, methods=["GET"]),
                Rule("/items/<int:index>/image", endpoint=self._image, methods=["GET"]),
                Rule("/items/<int:index>/mask", endpoint=self._mask, methods=["GET"]),
                Rule("/items/<int:index>/photos/<int:number>", endpoint=self._photo),
                Rule("/items/<int:index>/decision", endpoint=self._decide, methods=["POST"]),
                Rule("/items/<int:index>/undo", endpoint=self._undo, methods=["POST"]),
            ]
        )

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/{self.token}/"

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._answer(request)
        except HTTPException as error:
            response = _problem(error.description or error.name, error.code or 500)
        except ConflictError as error:
            response = _problem(str(error), _CONFLICT)
        except InputError as error:
            response = _problem(str(error), _MENDABLE)
        except OSError as error:
            response = _problem(_why_not_written(error), _NOT_WRITTEN)
        response.headers.update(_HEADERS)
        return response(environ, start)

    def _answer(self, request: Request) -> Response:
        self._stop_at_strangers(request)
        if request.path == f"/{self.token}":
            return Response(status=308, headers={"Location": self.url})
        # behind the token the paths are those of the map
        inner = dict(request.environ)
        inner["PATH_INFO"] = request.path.removeprefix(f"/{self.token}")
        endpoint, values = self._urls.bind_to_environ(inner).match()
        answer: Response = endpoint(request, **values)
        return answer

    def _stop_at_strangers(self, request: Request) -> None:
        """Who does not run on this machine, or does not know the token, gets nothing.

        A site whose name was made to lead here shows by its Host; one that sends a form, by Origin.
        """
        own = {f"{HOST}:{self.port}", f"localhost:{self.port}"}
        token = request.path.split("/")[1].encode()
        if request.remote_addr != HOST:
            raise Forbidden("this page is for its own machine")
        if request.environ.get("HTTP_HOST") not in own:
            raise Forbidden("this page has another address")
        if not secrets.compare_digest(token, self.token.encode()):
            raise Forbidden("open the whole address that `python -m ppl review` printed")
        if request.method not in ("GET", "HEAD"):
            origin = request.headers.get("Origin", "")
            if origin != f"http://{request.environ['HTTP_HOST']}":
                raise Forbidden("a decision has to come from the page itself")

    def _page(self, request: Request) -> Response:
        return self._static(request, "page.html")

    def _static(self, request: Request, name: str) -> Response:
        if name not in STATIC:
            raise NotFound("no such file")
        return Response(
            files("ppl.review").joinpath("static", name).read_bytes(), content_type=STATIC[name]
        )

    def _queue(self, request: Request) -> Response:
        """What there is to review, and where to begin."""
        review = self._review
        decided = review.decided()
        undecided = [index for index, decision in enumerate(decided) if not decision]
        return _json(
            {
                "title": review.work.title,
                "reviewer": review.reviewer,
                "classes": review.work.classes.names,
                "colours": review.work.classes.colours,
                "names": [item.shown for item in review.work.items],
                "decided": decided,
                "first": undecided[0] if undecided else None,
                "last": review.last(),
                "decisions_file": str(review.home.decisions),
                "masks_folder": str(review.home.masks),
            }
        )

    def _item(self, request: Request, index: int) -> Response:
        item = self._at(index)
        return _json(self._described(item, self._review.state(item)))

    def _image(self, request: Request, index: int) -> Response:
        return _picture(for_browser(self._at(index).image))

    def _mask(self, request: Request, index: int) -> Response:
        """The class index of each pixel, row by row: no browser alters these."""
        item = self._at(index)
        state = self._review.state(item)
        if request.args.get("digest") != state.judged:
            raise ConflictError(f"{item.name}: its mask changed just now")
        return Response(read_indices(state.mask).tobytes(), content_type="application/octet-stream")

    def _photo(self, request: Request, index: int, number: int) -> Response:
        photos = self._review.work.parts.others(self._at(index).name)[:MOST_PHOTOS]
        if number >= len(photos):
            raise NotFound("no such photo")
        _, file = photos[number]
        return _picture(thumbnail(file) if "small" in request.args else for_browser(file))

    def _decide(self, request: Request, index: int) -> Response:
        item = self._at(index)
        decision = request.args.get("decision", "")
        if decision not in DECISIONS:
            raise BadRequest(f"a decision is one of {', '.join(DECISIONS)}")
        drawn = self._drawn(request, item)
        state = self._review.decide(item, decision, request.args.get("seen", ""), drawn)
        return _json({"item": self._described(item, state), "decided": self._review.decided()})

    def _undo(self, request: Request, index: int) -> Response:
        item = self._at(index)
        state, note = self._review.undo(item, request.args.get("seen", ""))
        described = self._described(item, state)
        return _json(
            {
                "item": described,
                "decided": self._review.decided(),
                "last": self._review.last(),
                "note": note,
            }
        )

    def _drawn(self, request: Request, item: Item) -> bytes | None:
        """The pixels of a corrected mask: as many as the image has, and no more is read."""
        length = request.content_length or 0
        if not length:
            return None
        height, width = shown_size(item.image)
        if length != height * width:
            raise BadRequest(f"expected {height * width} bytes, a class index a pixel")
        return request.get_data(cache=False)

    def _at(self, index: int) -> Item:
        items = self._review.work.items
        if index >= len(items):
            raise NotFound("no such image")
        return items[index]

    def _described(self, item: Item, state: State) -> dict[str, Any]:
        """What the page has to know of an image, as it is now."""
        work = self._review.work
        photos = work.parts.others(item.id)
        size, image_problem = _tried(lambda: shown_size(item.image))
        mask_size, mask_problem = _tried(lambda: shown_size(state.mask))
        if size and mask_size and size != mask_size:
            mask_problem = (
                f"the mask has {mask_size[1]} x {mask_size[0]} pixels, the image "
                f"{size[1]} x {size[0]}, so they do not belong together"
            )
        return {
            "name": item.shown,
            "words": item.words,
            "part": work.parts.part_of.get(item.id, ""),
            "photos": [name for name, _ in photos[:MOST_PHOTOS]],
            "more_photos": max(0, len(photos) - MOST_PHOTOS),
            "boxes": [asdict(box) for box in item.boxes],
            "size": size,
            "image_problem": image_problem,
            "mask_problem": mask_problem,
            "taken": state.taken,
            "decision": state.row.decision if state.row else "",
            "reviewer": state.row.reviewer if state.row else "",
            "time": state.row.time if state.row else "",
            "judged": state.judged,
            "seen": state.seen,
        }


def open_server(review: Review) -> tuple[BaseWSGIServer, Site]:
    """A server that listens at a free port, and what it serves; `serve_forever` answers."""
    site = Site(review)
    server = make_server(HOST, 0, site, threaded=True, request_handler=_Quiet)
    site.port = server.server_port
    return server, site


class _Quiet(WSGIRequestHandler):
    """Prints no request: its path holds the token."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def log(self, type: str, message: str, *args: Any) -> None:
        print("review:", message % args, file=sys.stderr)


def _tried(look: Callable[[], _Answer]) -> tuple[_Answer | None, str]:
    try:
        return look(), ""
    except InputError as error:
        return None, str(error)


def _json(content: object) -> Response:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # a byte of a name that is no text reaches the page as a question mark
    return Response(text.encode("utf-8", "replace"), content_type="application/json")


def _picture(sent: Sent) -> Response:
    return Response(sent.content, content_type=sent.type)


def _problem(words: str, status: int) -> Response:
    response = _json({"problem": words})
    response.status_code = status
    return response


def _why_not_written(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; nothing was decided: mend that, then decide again"

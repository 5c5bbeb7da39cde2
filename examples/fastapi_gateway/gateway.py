"""A gateway in FastAPI: weir decides, httpx streams. See README.md."""

import argparse
import contextlib
import json
import pathlib

import anyio
import fastapi
import httpx
import uvicorn
import weir
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

HERE = pathlib.Path(__file__).resolve().parent
TAIL_BYTES = 8192  # of an answer, where its usage is looked for
HOP_HEADERS = {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "te",
               "trailer", "upgrade", "accept-encoding"}
STATUS = {weir.InvalidArgumentError: 400, weir.OutOfRangeError: 413,
          weir.FailedPreconditionError: 412, weir.ExhaustedError: 429, weir.UnavailableError: 503}


def make_app(servers, pipeline=HERE / "pipeline.yaml", silence_s=600):
    """An application that spreads /v1/... over servers ("host:port"). One that sends nothing for
    silence_s is given up."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        # One engine for each worker process, made in it: an engine does not survive a fork.
        with weir.Router.from_file(pipeline) as app.state.router:
            for server in servers:
                app.state.router.pool.upsert(server, address=server)
            timeout = httpx.Timeout(silence_s, connect=5, pool=None)
            async with httpx.AsyncClient(timeout=timeout) as app.state.client:
                yield

    app = fastapi.FastAPI(lifespan=lifespan)
    app.add_api_route("/v1/{path:path}", serve, methods=["POST"])
    app.add_api_route("/metrics", metrics)
    return app


async def metrics(request: fastapi.Request):
    return PlainTextResponse(request.app.state.router.metrics())


async def serve(request: fastapi.Request):
    body = await request.body()
    headers = {name: value for name, value in request.headers.items() if name not in HOP_HEADERS}
    try:
        decision = await request.app.state.router.admit(body=body, path=request.url.path,
                                                        headers=headers)
    except weir.Error as error:
        return refusal(STATUS.get(type(error), 500), error.code, str(error))
    headers.update(decision.headers)
    response = fastapi.Response(status_code=499)  # for a client that left; nobody reads it
    async with anyio.create_task_group() as group:
        group.start_soon(cancel_when_gone, request, group.cancel_scope)
        response = await forward(request, decision, decision.body or body, headers)
        group.cancel_scope.cancel()
    return response


async def cancel_when_gone(request, scope):
    """Until a response begins, nobody else notices that the client leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def forward(request, decision, body, headers):
    """The response of the first server that can be reached, as soon as it begins."""
    router, client = request.app.state.router, request.app.state.client
    for number, target in enumerate(decision.targets):
        async with contextlib.AsyncExitStack() as stack:
            flight = await stack.enter_async_context(router.begin(decision, number))
            url = f"http://{target.address}{request.url.path}"
            try:
                answer = await stack.enter_async_context(
                    client.stream("POST", url, content=body, headers=headers))
            except httpx.ConnectError:
                continue  # the next choice; this flight ends as failed
            except httpx.HTTPError as error:
                return refusal(502, "bad_gateway", f"{target.name}: {error!r}")
            return Relay(target, flight, answer, stack.pop_all())
    return refusal(503, "unavailable", "no server can be reached")


class Relay(StreamingResponse):
    """Pieces of the answer as they come. A client that leaves ends flight and answer, too."""

    def __init__(self, target, flight, answer, stack):
        headers = {name: value for name, value in answer.headers.items()
                   if name not in HOP_HEADERS} | {"x-weir-endpoint": target.name}
        super().__init__(self.pieces(), status_code=answer.status_code, headers=headers)
        self.flight, self.answer, self.stack = flight, answer, stack

    async def __call__(self, scope, receive, send):
        async with self.stack:
            await super().__call__(scope, receive, send)
            self.flight.finish(end="client_gone")  # unless it has ended

    async def pieces(self):
        tail = b""
        async for piece in self.answer.aiter_raw():
            self.flight.first_token()
            tail = (tail + piece)[-TAIL_BYTES:]
            yield piece
        if self.answer.is_success:
            self.flight.finish(**usage_in(tail))
        else:
            self.flight.finish(end="failed")


def usage_in(tail):
    """Token counts of the last "usage" of an answer, as arguments of Flight.finish()."""
    position = tail.rfind(b'"usage":')
    if position < 0:
        return {}
    try:
        text = tail[position + len(b'"usage":'):].decode(errors="replace").lstrip()
        usage, _ = json.JSONDecoder().raw_decode(text)
        details = usage.get("prompt_tokens_details") or {}
        return {"prompt_tokens": usage.get("prompt_tokens", -1),
                "cached_tokens": details.get("cached_tokens", -1),
                "output_tokens": usage.get("completion_tokens", -1)}
    except (ValueError, AttributeError):
        return {}


def refusal(status, kind, message):
    return JSONResponse({"error": {"type": kind, "message": message}}, status)


def main():
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--server", action="append", default=[], help="host:port, once for each")
    flags.add_argument("--port", type=int, default=8080)
    flags.add_argument("--pipeline", default=HERE / "pipeline.yaml", help="file")
    flags.add_argument("--silence-s", type=float, default=600, help="how long a server may take "
                       "to begin an answer, or to go on")
    given = flags.parse_args()
    uvicorn.run(make_app(given.server, given.pipeline, given.silence_s), host="127.0.0.1", port=given.port, log_level="info",
                access_log=False)


if __name__ == "__main__":
    main()

"""The endpoint that an API server sends its reviews to: one path, over HTTPS.

Knows how a review is asked for and answered over HTTP. Never knows what is in one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from socket import socket

from reconciler.web.certificate import Certificate
from reconciler.web.server import Answer, Request, Server

PATH = "/validate"
BODY_BYTES_MAX = 8 * 1024 * 1024
"""An API server takes objects of 3 MiB, and a review holds the one before, too."""
CONNECTIONS_MAX = 16
ANSWER_S = 10.0

Review = Callable[[bytes], Awaitable[bytes | None]]
"""Answers a review, both in JSON; None for what is none."""


class Webhook:
    """Serves until cancelled; as long as there is no certificate, connections are closed."""

    def __init__(
        self,
        certificate: Certificate,
        review: Review,
        *,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self._certificate = certificate
        self._review = review
        self._server = Server(
            self.answer,
            methods=("POST",),
            body_bytes_max=body_bytes_max,
            tls=lambda: certificate.context,
            connections_max=CONNECTIONS_MAX,
            answer_s=ANSWER_S,
        )

    async def serve(self, bound: socket) -> None:
        """Answer on a bound socket."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._certificate.follow(), name="webhook certificate")
            await self._server.serve(bound)

    async def answer(self, request: Request) -> Answer:
        """Answer one POST."""
        if request.path != PATH:
            return _said(404, f"not here; there is {PATH}")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _said(415, "write it in application/json")
        answer = await self._review(request.body)
        if answer is None:
            return _said(400, "this is no AdmissionReview of admission.k8s.io/v1")
        return Answer(200, answer, "application/json")


def _said(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")

"""Reaching a lab from another process: through its directory if free, else by its own handlers.

A served lab leaves `endpoint.json` in its directory (readable by its owner alone).
"""

import base64
import http.client
import json
import os
import ssl
from collections.abc import Mapping
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from reconciler.lab.failures import LabError

_TIMEOUT_S = 600.0


class RunningLab:
    """A lab that another process serves."""

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, "endpoint.json")
        try:
            with open(path, encoding="utf-8") as file:
                endpoint = json.load(file)
        except (OSError, ValueError):
            raise LabError(f"{directory}: in use by a process that does not serve it") from None
        self._url = urlsplit(endpoint["url"])
        account = f"{endpoint['user']}:{endpoint['password']}"
        self._authorization = "Basic " + base64.b64encode(account.encode()).decode()
        self._certificate = endpoint["certificate"]

    def ask(
        self,
        method: str,
        path: str,
        arguments: Mapping[str, str | int],
        body: bytes | BinaryIO = b"",
        length: int | None = None,
    ) -> bytes:
        """The body of an answer.

        Raises:
            LabError: with what the lab complains of, or if it cannot be reached.
        """
        connection = self._connect()
        fields = {
            "Authorization": self._authorization,
            "Content-Length": str(len(body) if isinstance(body, bytes) else length),
        }
        try:
            connection.request(method, f"{path}?{urlencode(arguments)}", body, fields)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"the lab at {self._url.netloc} does not answer: {error}") from None
        finally:
            connection.close()
        if response.status != http.client.OK:
            text = content.decode("utf-8", "replace")
            raise LabError(text.rpartition("</h1>")[2].removesuffix("</body></html>") or text)
        return content

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "127.0.0.1", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        context = ssl.create_default_context(cafile=self._certificate)
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)

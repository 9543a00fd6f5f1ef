"""The listeners: one address per host of the pool, the same port on each, a thread a connection.

Routes requests to handlers by the longest prefix of the path, per method, as XAPI does; a POST of
any other path is XML-RPC.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time

from reconciler.lab import jsonrpc, xmlrpc
from reconciler.lab.attachments import resync
from reconciler.lab.failures import Failure
from reconciler.lab.faults import Dropped
from reconciler.lab.handlers import Answered, Handler
from reconciler.lab.http import BadRequest, Request, answer, read_request, refuse
from reconciler.lab.pool import Pool
from reconciler.lab.rpc import Dispatcher
from reconciler.lab.wire import Closed, Connection

RPC_MAX = 300 << 10
_FAREWELL_S = 5.0  # how long a stopping server waits for its connections
_log = logging.getLogger(__name__)


class Server:
    """Serves one pool until it is closed."""

    def __init__(
        self,
        pool: Pool,
        dispatcher: Dispatcher,
        routes: dict[tuple[str, str], Handler],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._pool = pool
        self._dispatcher = dispatcher
        self._routes = routes
        self._tls = tls
        self._listeners: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._ended = threading.Condition()
        self._refuse_until = 0.0
        self._closing = False
        self.port = 0

    def listen(self, addresses: dict[str, str], port: int) -> None:
        """Serve hosts (reference → address) at one port, 0 = a free one.

        Raises:
            OSError: the port is taken.
        """
        for host, address in addresses.items():
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((address, port))
                listener.listen(256)
            except OSError:
                listener.close()
                self.close()
                raise
            port = listener.getsockname()[1]
            self._listeners.append(listener)
            name = f"lab listener {address}"
            thread = threading.Thread(
                target=self._accept, args=(listener, host), name=name, daemon=True
            )
            thread.start()
        self.port = port
        scheme = "https" if self._tls is not None else "http"
        self._pool.base_url = lambda address: f"{scheme}://{address}:{port}"
        self._pool.kill_toolstack = self.kill_toolstack

    def _accept(self, listener: socket.socket, host: str) -> None:
        while not self._closing:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, host), daemon=True).start()

    def _serve(self, sock: socket.socket, host: str) -> None:
        if time.monotonic() < self._refuse_until:
            # A closed port would answer with RST; so does this.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
            return
        try:
            if self._tls is not None:
                sock.settimeout(30.0)
                sock = self._tls.wrap_socket(sock, server_side=True)
            connection = Connection(sock, self._pool.settings.stall_s)
        except OSError:
            sock.close()
            return
        with self._ended:
            self._connections.add(connection)
        try:
            self._requests(connection, host)
        except Dropped as dropped:
            if dropped.reset:
                connection.abort()
        except (OSError, Closed):
            connection.abort()
        except Exception:
            _log.exception("a request failed")
        finally:
            connection.close()
            with self._ended:
                self._connections.discard(connection)
                self._ended.notify_all()

    def _requests(self, connection: Connection, host: str) -> None:
        while True:
            try:
                request = read_request(connection, host)
            except BadRequest as problem:
                body = str(problem).encode()
                connection.send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n" + body)
                return
            except (BlockingIOError, TimeoutError):
                return  # nobody asked anything for a long time
            if request is None:
                return
            if not self._handle(request):
                return

    def _handle(self, request: Request) -> bool:
        """Answer one request; whether the connection goes on."""
        handler = self._route(request)
        try:
            if handler is not None:
                if not request.path.startswith("/lab/"):
                    self._dispatcher.changes.append(f"{request.method} {request.path}")
                handler(self._pool, request)
                return False
            if request.method == "POST":
                return self._rpc(request)
            if request.method in ("GET", "PUT", "OPTIONS", "CONNECT", "HEAD"):
                refuse(request, "403 Forbidden")
            else:
                refuse(request, "501 Method Not Implemented")
        except Answered:
            pass
        except BadRequest as problem:
            refuse(request, "400 Bad Request", str(problem))
        except Failure as failure:
            refuse(request, "500 Internal Error", f"{failure.code}: {list(failure.params)}")
        return False

    def _route(self, request: Request) -> Handler | None:
        best = ""
        for method, prefix in self._routes:
            if method == request.method and request.path.startswith(prefix):
                best = max(best, prefix, key=len)
        return self._routes[request.method, best] if best else None

    # -- calls ------------------------------------------------------------------------------------

    def _rpc(self, request: Request) -> bool:
        try:
            body = request.body(RPC_MAX)
        except BadRequest as problem:
            refuse(request, "500 Internal Error", str(problem))
            return False
        if self._pool.settings.call_latency_s:
            threading.Event().wait(self._pool.settings.call_latency_s)
        if request.path.startswith("/json"):
            content, kind = self._json(body, request.host), "application/json"
        else:
            content, kind = self._xml(body, request.host), "text/xml"
        if content is None:
            refuse(request, "500 Internal Error", "the call cannot be read")
            return False
        answer(request, content, kind, keep=request.keep_alive)
        return request.keep_alive

    def _json(self, body: bytes, host: str) -> bytes | None:
        try:
            call = jsonrpc.decode(body)
        except jsonrpc.JsonError:
            return None
        try:
            result = self._dispatcher.call(call.method, call.parameters, host)
        except Failure as failure:
            return jsonrpc.failure(call, failure.description)
        return jsonrpc.success(call, result)

    def _xml(self, body: bytes, host: str) -> bytes | None:
        try:
            method, parameters = xmlrpc.decode_call(body)
        except xmlrpc.XmlError:
            return None
        try:
            result = self._dispatcher.call(method, parameters, host)
        except Failure as failure:
            return xmlrpc.failure(failure.description)
        if method == "system.listMethods":
            return xmlrpc.response(result)
        return xmlrpc.success(result)

    # -- ends -------------------------------------------------------------------------------------

    def kill_toolstack(self, refuse_s: float) -> None:
        """What a toolstack restart does: sessions and tasks vanish, every socket is reset.

        New connections are reset for `refuse_s`; then the starting toolstack unplugs what dead
        transfers left in the control domains.
        """
        self._refuse_until = time.monotonic() + refuse_s
        pool = self._pool
        pool.database.end_waiting()
        with pool.database.transaction():
            pool.sessions.drop_all()
            pool.tasks.drop_all()
            pool.events.forget_all()
        self._abort_all()
        if refuse_s:
            timer = threading.Timer(refuse_s, resync, (pool,))
            timer.daemon = True
            timer.start()
        else:
            resync(pool)

    def _abort_all(self) -> None:
        with self._ended:
            connections = list(self._connections)
        for connection in connections:
            connection.abort()

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._closing = True
        self._pool.events.stopped = lambda: True
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._pool.database.end_waiting()
        self._abort_all()
        with self._ended:
            self._ended.wait_for(lambda: not self._connections, _FAREWELL_S)

"""`GET /pool/xmldbdump`: the pool's database as XAPI backs it up."""

import json
from xml.sax.saxutils import quoteattr

from reconciler.lab.handlers import authenticate, transfer_task
from reconciler.lab.http import Request, head
from reconciler.lab.pool import Pool
from reconciler.lab.values import Value


def dump_database(pool: Pool, request: Request) -> None:
    """The handler."""
    authenticate(pool, request, "xmldbdump")
    with transfer_task(pool, request, "Pool database dump") as task:
        body = _text(pool).encode()
        fields = {
            "Connection": "close",
            "task-id": task,
            "content-type": "application/octet-stream",
            "Cache-Control": "no-cache, no-store",
        }
        request.connection.send(head("200 OK", fields) + body)
        pool.tasks.succeed(task)


def _text(pool: Pool) -> str:
    database = pool.database
    with database.changed:
        lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<database>", "<manifest>"]
        pairs = {"schema_major_vsn": "5", "schema_minor_vsn": "800"}
        pairs["generation_count"] = str(database.generation)
        lines += [f"<pair key={quoteattr(k)} value={quoteattr(v)}/>" for k, v in pairs.items()]
        lines.append("</manifest>")
        for name in sorted(database.tables):
            lines.append(f"<table name={quoteattr(name)}>")
            for row in database.rows(name):
                if row.table.persistent:
                    shown = {"ref": row.ref, **{k: _shown(v) for k, v in row.record().items()}}
                    lines.append(
                        f"<row {' '.join(f'{k}={quoteattr(v)}' for k, v in shown.items())}/>"
                    )
            lines.append("</table>")
        lines.append("</database>")
    return "\n".join(lines)


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)

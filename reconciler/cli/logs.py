"""Sets up the log: structlog over stdlib logging, on stderr, for people or for programs.

The one place where a renderer is chosen. Values of fields are escaped for people, because names
of VMs are in them; JSON escapes by itself.
"""

import logging
import sys
from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any, Literal

import structlog

from reconciler.cli.escape import escape, escape_lines
from reconciler.cli.messages import coloured
from reconciler.executor.run_keeper import RunLines

LogFormat = Literal["console", "json"]


def set_up(log_format: LogFormat = "console", level: str = "INFO") -> None:
    """Send every log line of this process to stderr. level: of our own lines; others' WARNING."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("reconciler").setLevel(level)


def keep_lines(now: Callable[[], datetime]) -> RunLines:
    """Keep the lines of runs from now on, for the history file."""
    lines = RunLines(now)
    processors = structlog.get_config()["processors"]
    structlog.configure(processors=[lines, *processors])
    return lines


def _renderers(log_format: LogFormat) -> list[structlog.typing.Processor]:
    match log_format:
        case "json":
            return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        case "console":
            return [
                structlog.processors.format_exc_info,
                _escape_fields,
                structlog.dev.ConsoleRenderer(
                    colors=coloured(sys.stderr),
                    exception_formatter=structlog.dev.plain_traceback,
                    pad_event_to=0,
                    pad_level=False,
                ),
            ]


def _escape_fields(
    _logger: object, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = escape_lines(value) if key == "exception" else escape(value)
    return event


class _StderrHandler(logging.Handler):
    """Writes to whatever sys.stderr is at the moment: bars that are drawn there take it over."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # stderr is gone: there is no other place to say it
            return

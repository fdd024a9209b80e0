"""One line per event, `key=value`; colour on a terminal, plain in a pipe, JSON for programs.

structlog takes a while to load. It is loaded when something is said for the first time that the level lets through: a
CNI plugin's process has nothing to say on most days.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal

LogFormat = Literal["auto", "console", "json"]
# The numbers of the standard library's `logging`.
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Logger:
    """A component's logger. Values are given as keywords."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bound: tuple[int, Any] | None = None

    def debug(self, event: str, **values: object) -> None:
        """For who looks for a fault."""
        self._say("debug", event, values)

    def info(self, event: str, **values: object) -> None:
        """What happened."""
        self._say("info", event, values)

    def warning(self, event: str, **values: object) -> None:
        """What went wrong and is put right."""
        self._say("warning", event, values)

    def error(self, event: str, **values: object) -> None:
        """What went wrong."""
        self._say("error", event, values)

    def exception(self, event: str, **values: object) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._say("error", event, {"exc_info": sys.exc_info(), **values})

    def _say(self, level: str, event: str, values: dict[str, Any]) -> None:
        if _LEVELS[level] < _state.threshold:
            return
        waiting: list[Callable[[], None]] | None = getattr(_held, "waiting", None)
        if waiting is not None:
            waiting.append(lambda: self._write(level, event, values))
        else:
            self._write(level, event, values)

    def _write(self, level: str, event: str, values: dict[str, Any]) -> None:
        getattr(self._logger(), level)(event, **values)

    def _logger(self) -> Any:
        if self._bound is None or self._bound[0] != _state.generation:
            self._bound = (_state.generation, _make(self._name))
        return self._bound[1]


class _State:
    """What `setup` said last, or what holds before: everything is said, as `auto` has it."""

    def __init__(self) -> None:
        self.generation = 0
        self.lock = threading.Lock()
        self.say(0, "auto")

    def say(self, threshold: int, fmt: LogFormat) -> None:
        self.threshold = threshold
        self.generation += 1
        self.configure: Callable[[], None] | None = lambda: _configure(threshold, fmt)


_state = _State()
_held = threading.local()


def _load() -> None:
    """Load structlog without rich, which it would draw tracebacks with: ours are plain, and it is 5 MB and 0.04 s."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # how an import is told that there is no such module
    try:
        import structlog.dev  # noqa: F401, PLC0415 - see the head of this file
    finally:
        del sys.modules["rich"]


def _make(name: str) -> Any:
    with _state.lock:
        _load()
        import structlog  # noqa: PLC0415 - see the head of this file

        configure, _state.configure = _state.configure, None
        if configure is not None:
            configure()
    return structlog.get_logger(component=name)


def setup(level: str = "info", fmt: LogFormat = "auto") -> None:
    """Configure logging for a whole process. Call once, first thing in a program.

    Args:
        level: debug, info, warning or error.
        fmt: `auto` colours on a terminal only; `json` prints one object per line.
    """
    _state.say(_LEVELS[level], fmt)


def reset() -> None:
    """As before `setup`: for tests of whole commands."""
    _state.say(0, "auto")


def get(name: str) -> Logger:
    """A logger bound to a component name, for example `log = logs.get("proxy.sync")`."""
    return Logger(name)


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """What this thread says in the body is written at its end: for work that somebody waits for."""
    waiting: list[Callable[[], None]] = []
    _held.waiting = waiting
    try:
        yield
    finally:
        _held.waiting = None
        for write in waiting:
            write()


def _configure(threshold: int, fmt: LogFormat) -> None:
    import structlog  # noqa: PLC0415 - see the head of this file

    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if fmt == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        processors.append(
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )

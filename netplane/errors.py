"""The one base class of errors that a person is meant to read.

An error says what is wrong (naming the field, flag or file), and what to do next. Programs catch the
subclasses; the command line prints `str(error)` on one screen and exits with `exit_code`.
"""


class NetplaneError(Exception):
    """An expected failure with advice.

    Args:
        message: what is wrong, naming the field, flag, file or object.
        hint: what to do about it; printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class UsageError(NetplaneError):
    """A flag, an argument or a configuration file that cannot be used as given."""

    exit_code = 2


def reason(error: Exception) -> str:
    """Why a file could not be read, on one line: the system's words, or a YAML parser's with line and column."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None and problem:
        return f"{problem} (line {mark.line + 1}, column {mark.column + 1})"
    return getattr(error, "strerror", None) or " ".join(str(error).split())

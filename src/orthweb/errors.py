"""The one family of errors that reaches a person.

Every message says what failed, with what, and the next step. The command line prints it as one line
and exits with the error's code: 1 when something is wrong with the site, 2 when the call or the site
file is wrong. A traceback is shown with ``--debug`` only.
"""

from __future__ import annotations


class OrthwebError(Exception):
    """Something is wrong with the site or its surroundings (exit code 1).

    Parameters
    ----------
    message : what failed and with what: names the key, file, service or peer.
    hint : the next step for the person, or None when the message says it already.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Give message and hint as one line."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(OrthwebError):
    """The call is wrong: bad arguments, missing files, not allowed for this user (exit code 2)."""

    exit_code = 2


class SiteFileError(UsageError):
    """The site file is wrong; one line for each problem: ``key: value: what it should be``.

    Parameters
    ----------
    problems : the lines, in the order of the file.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class NotRunningError(OrthwebError):
    """The site, or one of its services, does not answer."""


class BusyError(OrthwebError):
    """Another orthweb command is changing the same site."""

"""What an IAM table is made of: the actions that a kind of thing takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """The actions that a resource type takes.

    Parameters
    ----------
    create, read, update, delete : for Terraform's own calls.
    beside : what AWS asks the caller to be allowed besides, without a call of Terraform's: passing a role, using a key,
        giving a new thing its tags.
    """

    create: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    update: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def all(self) -> frozenset[str]:
        """All of them."""
        return frozenset((*self.create, *self.read, *self.update, *self.delete, *self.beside))


def needs(create: str = "", read: str = "", update: str = "", delete: str = "", beside: str = "") -> Needs:
    """Read actions from words; a word without a service belongs to that of the word before it."""
    return Needs(*(_actions(words) for words in (create, read, update, delete, beside)))


def _actions(words: str) -> tuple[str, ...]:
    found: list[str] = []
    service = ""
    for word in words.split():
        before, _, name = word.rpartition(":")
        service = before or service
        found.append(f"{service}:{name}")
    return tuple(found)

"""Types of the site file's values: what a text must look like, beyond being text.

Each validator is strict: TOML has types, so ``"8443"`` is not a number and ``true`` is not 1.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ValidationInfo


@dataclass(frozen=True)
class Form:
    """How a value should look, in words that follow "should be"; `many` in words that follow "a list of"."""

    one: str
    many: str | None = None


@dataclass(frozen=True)
class Unit:
    """The unit of a number."""

    name: str


class _HasFolder(Protocol):
    folder: Path


_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_AE_TITLE: Final = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
_DATABASE_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_PLUGIN_VERSION = re.compile(r"\d{1,3}(\.\d{1,3}){1,3}")
_LOG_GROUP = re.compile(r"[A-Za-z0-9_/.#-]{1,512}")
_SITE_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
_MODALITY_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SIZE: Final = re.compile(r"\d{1,20}(\.\d{1,20})?\s?([KMGT]i?)?B", re.IGNORECASE | re.ASCII)
_BUCKET: Final = re.compile(r"(?!\d+\.\d+\.\d+\.\d+\Z)[a-z0-9]([a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_OBJECT_ROOT: Final = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*/){0,16}")
# Docker's grammar of references (github.com/distribution/reference), with a registry, tag or digest: what tells it from
# a misspelt word.
_IMAGE: Final = re.compile(
    r"(?=[^/:@]+[/:@])([A-Za-z0-9.-]+(:\d{1,5})?/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_REGION: Final = re.compile(r"[a-z0-9-]{1,32}")


def _require(condition: bool) -> None:
    """Refuse a value; the reader of the site file says what it should be, from its Form."""
    if not condition:
        raise ValueError("not of the right form")


def _address(value: object) -> IPv4Address | IPv6Address:
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    _require(isinstance(value, str))
    address = ip_address(cast(str, value))
    _require(not address.is_multicast and address != IPv4Address("255.255.255.255"))
    return address


def _ae_title(value: str) -> str:
    # PS3.5 6.2, VR AE: outer spaces are not significant, so a title with them is a mistake.
    _require(_AE_TITLE.fullmatch(value) is not None and value == value.strip(" "))
    return value


def _hostname(value: str) -> str:
    name = value.lower()
    _require(_HOSTNAME.fullmatch(name) is not None)
    if name.rpartition(".")[2].isdigit():  # no top-level domain is a number: it is an address, or a mistake
        IPv4Address(name)
    return name


def _peer_host(value: str) -> str:
    return str(IPv6Address(value)) if ":" in value else _hostname(value)


def _site_name(value: str) -> str:
    _require(_SITE_NAME.fullmatch(value) is not None)
    return value


def _modality_name(value: str) -> str:
    # Names of that kind are for the site's own use, such as the storage SCP of `orthweb validate`.
    _require(_MODALITY_NAME.fullmatch(value) is not None and not value.lower().startswith("orthweb-"))
    return value


def _path(value: object, info: ValidationInfo) -> Path:
    _require(isinstance(value, Path) or (isinstance(value, str) and value != "" and "\0" not in value))
    path = Path(cast("str | Path", value))
    return cast("_HasFolder", info.context).folder / path if info.context is not None else path


def _size(value: object) -> object:
    _require(type(value) is not bool and isinstance(value, int | str))
    _require(not isinstance(value, str) or _SIZE.fullmatch(value) is not None)
    return value


def _bucket(value: str) -> str:
    _require(_BUCKET.fullmatch(value) is not None)
    return value


def _object_root(value: str) -> str:
    _require(_OBJECT_ROOT.fullmatch(value) is not None)
    return value


def _region(value: str) -> str:
    _require(_REGION.fullmatch(value) is not None)
    return value


def _image(value: str) -> str:
    _require(value in ("debian", "upstream") or (len(value) <= 255 and _IMAGE.fullmatch(value) is not None))
    return value


def _reference(value: str) -> str:
    _require(len(value) <= 255 and _IMAGE.fullmatch(value) is not None)
    return value


def _database_name(value: str) -> str:
    _require(_DATABASE_NAME.fullmatch(value) is not None)
    return value


def _plugin_version(value: str) -> str:
    _require(_PLUGIN_VERSION.fullmatch(value) is not None)
    return value


def _log_group(value: str) -> str:
    _require(_LOG_GROUP.fullmatch(value) is not None)
    return value


def _sha256(value: str) -> str:
    digest = value.lower()
    _require(_SHA256.fullmatch(digest) is not None)
    return digest


def _subnet(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    _require(isinstance(value, str))
    network = IPv4Network(cast(str, value))
    _require(network.prefixlen == 24 and network.is_private and not network.is_loopback)
    return network


def _range(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    _require(isinstance(value, str) and "/" in value)
    return IPv4Network(cast(str, value))  # strict: no bits beside the prefix


def _tags(value: object) -> object:
    # https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html#id_tags_naming_best_practices
    _require(isinstance(value, dict))
    for key, text in cast("dict[object, object]", value).items():
        _require(isinstance(key, str) and 0 < len(key) <= 128 and isinstance(text, str) and len(text) <= 256)
        name = cast(str, key)
        _require(name != "Name" and not name.lower().startswith("aws:") and not name.startswith("orthweb:"))
    return value


def pattern(expression: str) -> AfterValidator:
    """Make a validator of text that has to match as a whole."""
    compiled = re.compile(expression)

    def judge(value: str) -> str:
        _require(compiled.fullmatch(value) is not None)
        return value

    return AfterValidator(judge)


def one_of(numbers: Collection[int]) -> AfterValidator:
    """Make a validator of a number that has to be one of several."""

    def judge(value: int) -> int:
        _require(value in numbers)
        return value

    return AfterValidator(judge)


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    _require(parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None)
    _require(parts.path in ("", "/") and not parts.query and not parts.fragment and parts.port != 0)
    host = _peer_host(cast(str, parts.hostname))
    if parts.scheme == "http":  # images and signatures in the clear: within this machine alone
        _require(host == "localhost" or ip_address(host).is_loopback)
    return value.rstrip("/")


MODALITY_NAME_FORM: Final = 'up to 32 letters, digits, - and _, not beginning with "orthweb-"'

ADDRESS: Final = BeforeValidator(_address)
AE_TITLE: Final = AfterValidator(_ae_title)
BUCKET: Final = AfterValidator(_bucket)
DATABASE_NAME: Final = AfterValidator(_database_name)
ENDPOINT: Final = AfterValidator(_endpoint)
HOSTNAME: Final = AfterValidator(_hostname)
IMAGE: Final = AfterValidator(_image)
LOG_GROUP: Final = AfterValidator(_log_group)
MODALITY_NAME: Final = AfterValidator(_modality_name)
OBJECT_ROOT: Final = AfterValidator(_object_root)
PATH: Final = BeforeValidator(_path)
PEER_HOST: Final = AfterValidator(_peer_host)
PLUGIN_VERSION: Final = AfterValidator(_plugin_version)
RANGE: Final = BeforeValidator(_range)
REFERENCE: Final = AfterValidator(_reference)
REGION: Final = AfterValidator(_region)
SHA256: Final = AfterValidator(_sha256)
SITE_NAME: Final = AfterValidator(_site_name)
SIZE: Final = BeforeValidator(_size)
SUBNET: Final = BeforeValidator(_subnet)
TAGS: Final = BeforeValidator(_tags)

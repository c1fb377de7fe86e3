"""The site model: every key of the site file, its type, default, unit and meaning, once.

The commented example that ``orthweb init`` writes, ``docs/site-file.md`` and the error messages are
all generated from the models here. A ``Site`` is frozen: to change a site, change its file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, field_validator, model_validator

AE_TITLE = re.compile(r"^(?! )[\x20-\x5b\x5d-\x7e]{1,16}(?<! )$")
"""PS3.5 6.2, VR AE: 1 to 16 printable ASCII characters without backslash; ours without outer spaces."""

HOSTNAME = re.compile(r"^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$")

Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
AeTitle = Annotated[str, Field(pattern=AE_TITLE.pattern.replace("(?! )", "").replace("(?<! )", ""))]


class Section(BaseModel):
    """What all tables of the site file share: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Edge(Section):
    """The edge: the only part of a site that listens to the outside."""

    listen: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = Field(
        default=(ipaddress.IPv4Address("127.0.0.1"),),
        min_length=1,
        description="Addresses that HTTPS and DICOM TLS listen on. The default is reachable from this machine "
        'alone; ["0.0.0.0"] serves every network that the machine is in.',
    )
    https_port: Port = Field(default=8443, description="TCP port of HTTPS (Orthanc Explorer, REST, DICOMweb).")
    dicom_port: Port = Field(default=11112, description="TCP port of DICOM TLS.")
    max_body: ByteSize = Field(
        default=ByteSize(3 * 1024**3),
        ge=1024**2,
        le=64 * 1024**3,
        description="Largest body of one HTTP request (STOW-RS, upload). Orthanc needs about three times this "
        "much memory while it takes one in.",
    )
    max_connections: int = Field(default=512, ge=16, le=65536, description="HTTPS connections open at once.")
    max_associations: int = Field(default=64, ge=4, le=4096, description="DICOM associations open at once.")


class Tls(Section):
    """Certificates and TLS policy of both ports."""

    profile: Literal["intermediate", "modern"] = Field(
        default="intermediate",
        description="Mozilla's recommendation to follow: intermediate (TLS 1.2 and 1.3) or modern (TLS 1.3 only; "
        "many DICOM toolkits cannot).",
    )
    certificate: Path | None = Field(
        default=None,
        description="Your own certificate with its chain (PEM), relative to the site file. Without it the site's "
        "own CA issues one.",
    )
    key: Path | None = Field(default=None, description="The private key of that certificate (PEM, no passphrase).")
    client_certificates: Literal["off", "optional", "required"] = Field(
        default="off",
        description="DICOM client certificates, issued with `orthweb certificates client NAME`: off, optional (one that "
        "is shown must be valid) or required.",
    )

    @model_validator(mode="after")
    def _pair(self) -> Tls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: give both, or neither")
        return self


class Dicom(Section):
    """The site as a DICOM peer sees it."""

    aet: AeTitle = Field(default="ORTHANC", description="AE title of the archive (1 to 16 characters).")
    unknown_peers: Literal["auto", "none", "store", "all"] = Field(
        default="auto",
        description="What a peer whose AE title is not in [modalities] may do: none; store (C-ECHO and C-STORE); all (C-FIND, "
        "C-GET and C-MOVE too). auto is all while only this machine can reach the edge or client certificates are "
        "required, else store.",
    )


class Archive(Section):
    """Orthanc."""

    overwrite: bool = Field(
        default=False,
        strict=True,
        description="Whether an instance that is sent again replaces the stored one. Off: the first one stays and the "
        "sender is told success.",
    )
    stable_age: int = Field(
        default=60, ge=1, le=86400, description="Seconds without a new instance after which a study counts as complete."
    )
    dicom_threads: int = Field(default=16, ge=1, le=256, description="DICOM requests that are worked on at once.")
    http_threads: int = Field(default=50, ge=4, le=512, description="HTTP requests that are worked on at once.")


class Index(Section):
    """PostgreSQL."""

    connections: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Connections from the archive to the index. With Debian's PostgreSQL plugin one is fastest for ingest; "
        "eight answer queries two to three times faster and take images in at half the rate.",
    )


class Store(Section):
    """Where DICOM files lie."""

    kind: Literal["filesystem"] = Field(default="filesystem", description="filesystem: files in a folder.")
    path: Path | None = Field(
        default=None,
        description="Folder of the DICOM files, relative to the site file. Without it: inside the state folder.",
    )


class Modality(Section):
    """A DICOM peer of the archive: who may call, and where C-MOVE and C-STORE go to."""

    aet: AeTitle = Field(description="AE title of the peer.")
    host: str = Field(min_length=1, max_length=253, description="Host name or address of the peer.")
    port: Port = Field(description="TCP port of the peer.")
    tls: bool = Field(default=True, strict=True, description="Whether the archive speaks TLS to the peer.")
    ca: Path | None = Field(
        default=None,
        description="CA that signed the peer's certificate (PEM), relative to the site file. Without it: the site's own CA.",
    )
    allow: tuple[Literal["echo", "store", "find", "get", "move"], ...] = Field(
        default=("echo", "store", "find", "get", "move"), description="What the peer may ask of the archive."
    )


class Site(Section):
    """One imaging service as its users see it; an empty site file gives a valid local one."""

    name: str = Field(
        default="orthweb",
        pattern=r"^[a-z][a-z0-9-]{0,30}$",
        description="Name of the site: in certificates, logs and Orthanc Explorer. Lower-case letters, digits, hyphens.",
    )
    hostname: str = Field(
        default="localhost",
        pattern=HOSTNAME.pattern.replace("(?=.{1,253}$)", ""),
        max_length=253,
        description="DNS name (or IPv4 address) under which people and modalities reach the site.",
    )
    target: Literal["local"] = Field(
        default="local", description="Where the site runs: local (processes on this machine)."
    )
    edge: Edge = Field(default=Edge(), description="The only part that listens to the outside (Envoy).")
    tls: Tls = Field(default=Tls(), description="Certificates and TLS policy of both ports.")
    dicom: Dicom = Field(default=Dicom(), description="The site as a DICOM peer sees it.")
    archive: Archive = Field(default=Archive(), description="Orthanc.")
    index: Index = Field(default=Index(), description="PostgreSQL.")
    store: Store = Field(default=Store(), description="Where DICOM files lie.")
    modalities: dict[str, Modality] = Field(
        default_factory=dict, description="DICOM peers, one table each: [modalities.NAME]."
    )

    @field_validator("modalities")
    @classmethod
    def _names(cls, value: dict[str, Modality]) -> dict[str, Modality]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name):
                raise ValueError(f"{name}: a modality's name has letters, digits, - and _, at most 32")
        return value

    @model_validator(mode="after")
    def _ports_differ(self) -> Site:
        if self.edge.https_port == self.edge.dicom_port:
            raise ValueError("edge.dicom_port: must differ from edge.https_port")
        return self

    @property
    def loopback_only(self) -> bool:
        """Whether only this machine can reach the edge."""
        return all(address.is_loopback for address in self.edge.listen)

    @property
    def unknown_peers(self) -> Literal["none", "store", "all"]:
        """What peers outside [modalities] may do, with ``auto`` decided."""
        if self.dicom.unknown_peers != "auto":
            return self.dicom.unknown_peers
        return "all" if self.loopback_only or self.tls.client_certificates == "required" else "store"

    @property
    def names(self) -> tuple[str, ...]:
        """DNS names and addresses that the edge's certificates cover, hostname first, without repeats."""
        return tuple(dict.fromkeys(self._names_in_order()))

    def _names_in_order(self) -> Iterator[str]:
        yield self.hostname
        yield "localhost"
        yield "127.0.0.1"
        yield "::1"
        for address in self.edge.listen:
            if not address.is_unspecified:
                yield str(address)

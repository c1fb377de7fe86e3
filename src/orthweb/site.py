"""The site model: every key of the site file, its type, default, unit and meaning, once.

The commented example that ``orthweb init`` writes, ``docs/site-file.md`` and the error messages are
all generated from the models here. A ``Site`` is frozen: to change a site, change its file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field, ValidationInfo, model_validator

from orthweb import sitetypes
from orthweb.contradictions import Contradiction, contradictions
from orthweb.section import Section
from orthweb.siteaws import Aws
from orthweb.sitetypes import Form, Unit
from orthweb.tomltext import dotted

Address = Annotated[
    IPv4Address | IPv6Address,
    sitetypes.ADDRESS,
    Form('an IPv4 or IPv6 address of this machine, such as "192.0.2.10"', many="IPv4 or IPv6 addresses"),
]
AeTitle = Annotated[
    str, sitetypes.AE_TITLE, Form("1 to 16 printable ASCII characters without backslash or outer spaces")
]
Bucket = Annotated[str, sitetypes.BUCKET, Form("3 to 63 lower-case letters, digits, dots and hyphens")]
BesideSiteFile = Annotated[Path, sitetypes.PATH, Form("a path, relative to the site file or absolute")]
DatabaseName = Annotated[
    str,
    sitetypes.DATABASE_NAME,
    Form("1 to 63 lower-case letters, digits, hyphens and underscores, not beginning with a digit"),
]
Endpoint = Annotated[
    str, sitetypes.ENDPOINT, Form('an https:// address without path, such as "https://s3.example.org:9000"')
]
FileDigest = Annotated[str, sitetypes.SHA256, Form("64 hexadecimal digits, what `sha256sum` says of the file")]
Hostname = Annotated[
    str, sitetypes.HOSTNAME, Form('a DNS name or IPv4 address without scheme and port, such as "pacs.example.org"')
]
Image = Annotated[
    str,
    sitetypes.IMAGE,
    Form(
        '"debian", "upstream" or an image with registry, tag or digest, such as "registry.example.org/orthanc:1.13.0"'
    ),
]
ModalityName = Annotated[str, sitetypes.MODALITY_NAME]
PluginVersion = Annotated[str, sitetypes.PLUGIN_VERSION, Form('a version, such as "10.3"')]
ObjectRoot = Annotated[
    str, sitetypes.OBJECT_ROOT, Form('letters, digits, - _ . and slashes with a slash at the end, such as "images/"')
]
PeerHost = Annotated[str, sitetypes.PEER_HOST, Form("a DNS name or an IPv4 or IPv6 address, without port")]
Port = Annotated[int, Field(ge=1, le=65535)]
LogGroup = Annotated[str, sitetypes.LOG_GROUP, Form('a log group\'s name, such as "/orthweb/pacs/containers"')]
Reference = Annotated[
    str, sitetypes.REFERENCE, Form('an image with registry, tag or digest, such as "registry.example.org/edge:0.2.0"')
]
Region = Annotated[str, sitetypes.REGION, Form('a region, such as "eu-central-1"')]
SiteName = Annotated[
    str, sitetypes.SITE_NAME, Form("1 to 31 lower-case letters, digits and hyphens, beginning with a letter")
]
Size = Annotated[ByteSize, sitetypes.SIZE]
Subnet = Annotated[
    IPv4Network, sitetypes.SUBNET, Form('a private IPv4 network of 256 addresses, such as "10.83.44.0/24"')
]


@dataclass
class Reading:
    """What validation of a site file needs beyond its values (pydantic's validation context).

    Parameters
    ----------
    folder : the site file's folder: relative paths become absolute with it.
    contradictions : filled by the model, so that the reader can report all problems together.
    """

    folder: Path
    contradictions: list[Contradiction] = field(default_factory=list)


class Edge(Section):
    """The edge (Envoy): the only part of a site that listens to the outside."""

    listen: tuple[Address, ...] = Field(
        default=(IPv4Address("127.0.0.1"),),
        min_length=1,
        description="Addresses of this machine that HTTPS and DICOM TLS listen on. The default is reachable from this "
        'machine alone; ["0.0.0.0"] serves every IPv4 network that the machine is in.',
    )
    https_port: Port = Field(
        default=8443, strict=True, description="TCP port of HTTPS: Orthanc Explorer, REST API and DICOMweb."
    )
    dicom_port: Port = Field(default=11112, strict=True, description="TCP port of DICOM TLS.")
    max_body: Annotated[Size, Unit("bytes")] = Field(
        default=ByteSize(3 * 1024**3),
        ge=1024**2,
        le=64 * 1024**3,
        description="Largest body of one HTTP request (STOW-RS, upload). Orthanc needs about three times as much "
        "memory while it takes one in.",
    )
    max_connections: int = Field(
        default=512, ge=16, le=65536, strict=True, description="HTTPS connections open at once."
    )
    max_associations: int = Field(
        default=64, ge=4, le=4096, strict=True, description="DICOM associations open at once."
    )


class Tls(Section):
    """Certificates and TLS policy of both ports."""

    profile: Literal["intermediate", "modern"] = Field(
        default="intermediate",
        description="Mozilla's recommendation to follow: intermediate (TLS 1.2 and 1.3) or modern (TLS 1.3 only, which "
        "many DICOM toolkits do not speak).",
    )
    certificate: BesideSiteFile | None = Field(
        default=None,
        examples=["tls/pacs.example.org.pem"],
        description="Your own certificate, followed by its chain (PEM). Without it the site's own CA issues one.",
    )
    key: BesideSiteFile | None = Field(
        default=None,
        examples=["tls/pacs.example.org.key"],
        description="The private key of that certificate (PEM, without passphrase).",
    )
    client_certificates: Literal["off", "optional", "required"] = Field(
        default="off",
        description="DICOM client certificates, which `orthweb certificates client NAME` issues: off, optional "
        "(one that is shown must be valid) or required.",
    )


class Dicom(Section):
    """The site as a DICOM peer sees it."""

    aet: AeTitle = Field(default="ORTHANC", description="AE title of the archive.")
    unknown_peers: Literal["auto", "none", "store", "all"] = Field(
        default="auto",
        description="What a peer whose AE title is not among the [modalities] may do: none; store (C-ECHO and "
        "C-STORE); all (C-FIND, C-GET and C-MOVE too). auto means all while only this machine can reach the edge or "
        "client certificates are required, and store otherwise.",
    )


class ExtraPlugin(Section):
    """A plugin of Orthanc that is no part of the packages: its library and what that must be."""

    path: BesideSiteFile = Field(description="The library (a shared object, .so).")
    sha256: FileDigest = Field(description="SHA-256 of the library; another file is refused.")


class Archive(Section):
    """The archive (Orthanc)."""

    overwrite: bool = Field(
        default=False,
        strict=True,
        description="Whether an instance that is sent again replaces the stored one. false: the first one stays, and "
        "the sender is told success.",
    )
    stable_age: Annotated[int, Unit("seconds")] = Field(
        default=60,
        ge=1,
        le=86400,
        strict=True,
        description="Time without a new instance after which a study counts as complete.",
    )
    dicom_threads: int = Field(
        default=16, ge=1, le=256, strict=True, description="DICOM requests that are worked on at once."
    )
    http_threads: int = Field(
        default=50, ge=4, le=512, strict=True, description="HTTP requests that are worked on at once."
    )
    writers: int = Field(
        default=1,
        ge=1,
        le=8,
        strict=True,
        description="Orthanc processes that take images in (DICOM and STOW-RS) and change what is stored. A second one "
        "is for availability: it adds no speed on one machine.",
    )
    readers: int | None = Field(
        default=None,
        examples=[2],
        ge=0,
        le=16,
        strict=True,
        description="Orthanc processes that answer queries and retrieval over HTTPS beside the writers. Without it: 1 "
        "where the PostgreSQL plugin is older than 6.0, whose transactions conflict, and 0 otherwise.",
    )
    image: Image = Field(
        default="debian",
        description="Image of the archive for the Docker target. debian: built by `orthweb image build` from Debian's "
        "packages. upstream: the Orthanc team's at a fixed tag. Or any image with an Orthanc in it.",
    )
    extra_plugins: tuple[ExtraPlugin, ...] = Field(
        default=(),
        description="Plugins that Orthanc loads besides its packages', such as a newer PostgreSQL plugin. One that has "
        "the name of a packaged one takes its place. Each is tried in an Orthanc apart before the site is touched.",
    )


class Index(Section):
    """The index (PostgreSQL): one of the site's own, or, with index.host, a database of somebody else's server.

    That server needs TLS with a certificate for its name; the user needs nothing but to own the database.
    """

    host: PeerHost | None = Field(
        default=None,
        examples=["postgresql.example.org"],
        description="PostgreSQL server of your own that has the index. Without it: the site runs one itself.",
    )
    port: Port = Field(default=5432, strict=True, description="TCP port of that server.")
    database: DatabaseName = Field(default="orthanc", description="Database there; it must exist.")
    user: DatabaseName = Field(default="orthanc", description="User there, who owns that database.")
    password: BesideSiteFile | None = Field(
        default=None,
        examples=["index-password"],
        description="File with that user's password, readable by you alone. When it changes, `orthweb up` puts the new "
        "one to use without a restart.",
    )
    ca: BesideSiteFile | None = Field(
        default=None, examples=["tls/index-ca.pem"], description="CA that signed that server's certificate (PEM)."
    )
    snapshot_before: PluginVersion | None = Field(
        default=None,
        examples=["10.3"],
        description="Version of the PostgreSQL plugin that may change the schema of that database, because you have "
        "taken a snapshot of it: there is no way back.",
    )
    client: SiteName | None = Field(
        default=None,
        examples=["host-1"],
        description="Name of this machine among those that share the index, when there are several.",
    )
    connections: int | None = Field(
        default=None,
        examples=[8],
        ge=1,
        le=100,
        strict=True,
        description="Connections from each Orthanc process to the index. Without it: 8, and where the "
        "PostgreSQL plugin is older than 6.0 1 for a writer (more would conflict and slow ingest) and 4 for a reader "
        "of the site's own index.",
    )


class Store(Section):
    """The store: where the DICOM files lie."""

    kind: Literal["filesystem", "s3", "database"] = Field(
        default="filesystem",
        description="filesystem: files in a folder. s3: objects in a bucket, see [s3]. database: in the index "
        "(small sites; slower). On AWS s3 without it, and the bucket is made. To change it for a site with images: "
        "`orthweb store migrate`.",
    )
    path: BesideSiteFile | None = Field(
        default=None,
        examples=["/srv/dicom"],
        description="Folder of the DICOM files; made if it is missing. Without it: `.orthweb/store`.",
    )


class S3(Section):
    """The bucket, for store.kind = "s3" (AWS or any server that speaks S3)."""

    bucket: Bucket | None = Field(
        default=None, examples=["pacs-images"], description="Name of the bucket, which must exist."
    )
    root: ObjectRoot = Field(
        default="", examples=["images/"], description="What every object's key begins with; ends with a slash."
    )
    region: Region = Field(default="us-east-1", description="AWS region of the bucket.")
    endpoint: Endpoint | None = Field(
        default=None,
        examples=["https://s3.example.org:9000"],
        description="Address of an S3 server that is not AWS. http:// is allowed for a loopback address alone.",
    )
    addressing: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description="path: https://server/bucket/key; virtual: https://bucket.server/key; auto: virtual for AWS, path "
        "for an endpoint.",
    )
    ca: BesideSiteFile | None = Field(
        default=None, examples=["tls/s3-ca.pem"], description="CA that signed the endpoint's certificate (PEM)."
    )
    credentials: BesideSiteFile | None = Field(
        default=None,
        examples=["s3-credentials"],
        description="AWS credentials file (profile default), readable by you alone. Without it: the default chain of "
        "AWS, such as an instance's role.",
    )
    encryption: Literal["bucket", "s3", "kms"] = Field(
        default="bucket",
        description="Encryption at rest that is asked for with each object: what the bucket is set to (AWS always "
        "encrypts), s3 (SSE-S3) or kms (SSE-KMS).",
    )
    kms_key: str | None = Field(
        default=None,
        min_length=1,
        examples=["alias/pacs-images"],
        description="Key of SSE-KMS: id, ARN or alias. Without it: the account's own key for S3.",
    )
    storage_class: str | None = Field(
        default=None,
        pattern=r"^[A-Z0-9_]{1,64}$",
        examples=["INTELLIGENT_TIERING"],
        description="Storage class of new objects. Without it: the bucket's.",
    )
    deadline: Annotated[int, Unit("seconds")] = Field(
        default=20,
        ge=1,
        le=600,
        strict=True,
        description="How long one object is tried for, again and again, before the sender is told that it failed.",
    )
    cache: Annotated[Size, Unit("bytes")] = Field(
        default=ByteSize(4 * 1024**3),
        ge=0,
        description="Size of the local cache of objects read and written; 0 for none.",
    )
    cache_path: BesideSiteFile | None = Field(
        default=None,
        examples=["/var/lib/orthweb/cache"],
        description="Folder of that cache; made if it is missing, and to be used for nothing else. Without it: "
        "`.orthweb/cache`.",
    )


class Docker(Section):
    """Containers, for target = "docker": their network, and what each of them may take of this machine."""

    subnet: Subnet | None = Field(
        default=None,
        examples=["10.83.44.0/24"],
        description="Addresses of the containers' private networks. Without it: some that are free.",
    )
    archive_image: Reference | None = Field(
        default=None,
        examples=["registry.example.org/orthweb/archive:0.2.0"],
        description="Reference of Orthweb's own image of the archive, to be pulled where the engine does not have it. "
        "Without it: `orthweb/archive`, built here.",
    )
    edge_image: Reference | None = Field(
        default=None,
        examples=["registry.example.org/orthweb/edge:0.2.0"],
        description="The same for the image of the edge.",
    )
    index_image: Reference | None = Field(
        default=None,
        examples=["registry.example.org/orthweb/index:0.2.0"],
        description="The same for the image of the index.",
    )
    log_group: LogGroup | None = Field(
        default=None,
        examples=["/orthweb/pacs/containers"],
        description="Log group of CloudWatch that the containers' logs go to (log driver awslogs). Without it: the "
        "engine's own files.",
    )
    log_region: Region | None = Field(
        default=None, examples=["eu-central-1"], description="AWS region of that log group. Without it: s3.region."
    )
    archive_memory: Annotated[Size | None, Unit("bytes")] = Field(
        default=None,
        ge=512 * 1024**2,
        le=1024**4,
        examples=["8GiB"],
        description="Most memory of one Orthanc container; a request may be a third of it. Without it: no limit.",
    )
    archive_cpus: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        strict=True,
        examples=[4],
        description="Most processor cores of one Orthanc container.",
    )
    index_memory: Annotated[Size | None, Unit("bytes")] = Field(
        default=None,
        ge=512 * 1024**2,
        le=1024**4,
        examples=["4GiB"],
        description="Most memory of PostgreSQL's container. Without it: no limit.",
    )
    index_cpus: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        strict=True,
        examples=[2],
        description="Most processor cores of PostgreSQL's container.",
    )
    edge_memory: Annotated[Size | None, Unit("bytes")] = Field(
        default=None,
        ge=256 * 1024**2,
        le=1024**4,
        examples=["1GiB"],
        description="Most memory of Envoy's container. Without it: no limit.",
    )
    edge_cpus: int | None = Field(
        default=None, ge=1, le=1024, strict=True, examples=[2], description="Most processor cores of Envoy's container."
    )


class Modality(Section):
    """A DICOM peer of the archive: what it may ask, and where C-MOVE and C-STORE reach it.

    NAME is yours to choose: up to 32 letters, digits, - and _, not beginning with "orthweb-".
    """

    aet: AeTitle = Field(examples=["CT1"], description="AE title of the peer.")
    host: PeerHost = Field(examples=["ct1.example.org"], description="Where the peer is.")
    port: Port = Field(strict=True, examples=[2762], description="TCP port that the peer's storage SCP listens on.")
    tls: bool = Field(
        default=True,
        strict=True,
        description="Whether the archive speaks TLS to the peer. (From the peer to the archive it is always TLS.)",
    )
    ca: BesideSiteFile | None = Field(
        default=None,
        examples=["tls/ct1-ca.pem"],
        description="CA that signed the peer's certificate (PEM). Without it: the site's own CA.",
    )
    allow: tuple[Literal["echo", "store", "find", "get", "move"], ...] = Field(
        default=("echo", "store", "find", "get", "move"),
        description="What the peer may ask of the archive, besides what dicom.unknown_peers lets everybody do; [] for "
        "a peer that only receives.",
    )


class Site(Section):
    """One imaging service as its users see it; an empty site file gives a valid local one."""

    name: SiteName = Field(
        default="orthweb", description="Name of the site in certificates, logs and Orthanc Explorer."
    )
    hostname: Hostname = Field(
        default="localhost",
        description="Name under which people and modalities reach the site; the certificates are for it.",
    )
    target: Literal["local", "docker", "aws"] | None = Field(
        default=None,
        examples=["docker"],
        description="Where the site runs: local (processes on this machine), docker (containers on it) or aws (an AWS "
        "account, see [aws]). Without it: where it ran before, else docker when a Docker engine answers, else local.",
    )
    edge: Edge = Edge()
    tls: Tls = Tls()
    dicom: Dicom = Dicom()
    archive: Archive = Archive()
    index: Index = Index()
    store: Store = Store()
    s3: S3 = S3()
    docker: Docker = Docker()
    aws: Aws = Aws()
    modalities: dict[ModalityName, Modality] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _in_the_bucket(cls, data: Any) -> Any:
        """Keep the images of a site on AWS in its bucket, unless its file says otherwise."""
        if isinstance(data, dict) and data.get("target") == "aws":
            store = data.get("store", {})
            if isinstance(store, dict) and "kind" not in store:
                return {**data, "store": {**store, "kind": "s3"}}
        return data

    @model_validator(mode="after")
    def _agree(self, info: ValidationInfo) -> Site:
        found = list(contradictions(self))
        if isinstance(info.context, Reading):
            info.context.contradictions.extend(found)
        elif found:
            raise ValueError("; ".join(f"{dotted(each.place)}: {each.message}" for each in found))
        return self

    @property
    def loopback_only(self) -> bool:
        """Whether only this machine can reach the edge."""
        return self.target != "aws" and all(address.is_loopback for address in self.edge.listen)

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


def table_names() -> tuple[str, ...]:
    """Name the tables of a site file that stand there once, in the order of the model."""
    return tuple(name for name, field_ in Site.model_fields.items() if isinstance(field_.default, Section))

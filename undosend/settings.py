"""What an operator can choose, where each choice may be written, and what is wrong with it.

The fields of ``Settings`` are the only list: the command line, the environment, the help and
the README's table are generated from it. Nothing here opens, binds or connects anything.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from undosend.choices import (
    DatabaseUrl,
    FileName,
    Host,
    Networks,
    Origins,
    Ports,
    PublicUrl,
    SigningKeys,
)
from undosend.domain.errors import Misconfigured

_PREFIX = "UNDOSEND_"
_CONFIDENTIAL = ("relay_url", "database_url", "signing_key")
_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}
# A Service named "undosend" makes Kubernetes set UNDOSEND_PORT=tcp://… and its kin in each pod.
_SERVICE_LINK = re.compile(r"UNDOSEND_(SERVICE_HOST|SERVICE_PORT.*|PORT_\d+_(TCP|UDP).*)")
_SERVICE_LINKS = (
    "Kubernetes set it for a Service of that name: give the pod enableServiceLinks: false."
)


class Settings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Everything an operator can choose; whole and within its limits as soon as it exists."""

    host: Host = Field(
        default="127.0.0.1",
        description="Address to serve on; any but loopback needs API keys.",
    )
    port: int = Field(
        default=8000, ge=0, le=65_535, description="Port to serve on; 0 takes any free one."
    )
    database_url: DatabaseUrl = Field(
        default="sqlite:///undosend.db",
        repr=False,
        description="Where the mail is kept: sqlite:///from-here.db, sqlite:////from-root.db or "
        "postgresql://user:password@host/name.",
    )
    relay_url: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="SMTP server that takes the mail onward: smtp://user:password@host:587 or "
        "smtps://…. Other users see a command line: prefer the variable or its _FILE.",
    )
    relay_ca_file: FileName | None = Field(
        default=None,
        description="PEM file of the authorities to trust for it, in place of the system's.",
    )
    relay_client_cert_file: FileName | None = Field(
        default=None, description="PEM file of the certificate, with its chain, to show to it."
    )
    relay_client_key_file: FileName | None = Field(
        default=None, description="PEM file of its key, where that is not in the same file."
    )
    dev: bool = Field(
        default=False,
        description="Development: without a relay URL, keep what is sent in an inbox here.",
    )
    grace_seconds: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="Undo still works this long after the window that people are shown.",
    )
    default_delay_seconds: int = Field(
        default=10, ge=0, le=2_592_000, description="Undo window of an email that names none."
    )
    max_delay_seconds: int = Field(
        default=2_592_000, ge=0, le=2_592_000, description="Longest delay an email may ask for."
    )
    public_url: PublicUrl | None = Field(
        default=None,
        description="Address under which clients reach this service; links start with it.",
    )
    signing_key: SigningKeys = Field(
        default=None,
        description="Key that signs undo links, cursors and tokens, of 32 characters or more; "
        "after a comma, the one before it. Without it one is made and kept in the database. Other "
        "users see a command line: prefer the variable or its _FILE.",
    )
    cors_origins: Origins = Field(
        default="",
        description="Origins whose pages may call this service (CORS), with commas between.",
    )
    metrics_host: Host = Field(
        default="127.0.0.1",
        description="Address to serve the metrics on; whoever reaches it needs no key.",
    )
    metrics_port: int = Field(
        default=9464,
        ge=0,
        le=65_535,
        description="Port to serve the metrics on; 0 takes any free one.",
    )
    relay_connections: int = Field(
        default=10, ge=1, le=1000, description="Most connections kept to the relay at once."
    )
    relay_timeout_seconds: float = Field(
        default=60, gt=0, le=3600, description="Longest wait for the relay's reply to a command."
    )
    data_timeout_seconds: float = Field(
        default=600,
        gt=0,
        le=3600,
        description="Longest time for it to take a whole message and answer (RFC 5321 §4.5.3.2.6); "
        "a shorter one makes more deliveries uncertain.",
    )
    lifetime_hours: float = Field(
        default=24,
        gt=0,
        le=720,
        description="How long an email that the relay defers is tried again.",
    )
    uncertain_policy: Literal["resend_once", "hold"] = Field(
        default="resend_once",
        description="After a line broke in mid-message: send once more, or leave it to a person.",
    )
    content_days: float = Field(
        default=7,
        ge=0,
        le=36_500,
        description="Delete what an email holds so many days after it has ended; 0 within a "
        "second. What became of it is kept.",
    )
    after_restore: bool = Field(
        default=False,
        description="Start paused, because the database was restored: nothing is sent until "
        "undosend resume.",
    )
    event_days: int = Field(
        default=30,
        ge=4,
        le=3650,
        description="How long the event log tells what happened; webhooks are tried for three "
        "days.",
    )
    min_free_mib: int = Field(
        default=100,
        ge=0,
        le=1_048_576,
        description="Take no more mail while the database's disk has less than so many MiB free; "
        "50 is the least that counts.",
    )
    rate_per_minute: int = Field(
        default=600,
        ge=0,
        le=1_000_000,
        description="Requests a key may make in a minute, and tenfold to undo; 0: any number.",
    )
    daily_quota: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="Emails a key may send in a day (UTC); 0: any number.",
    )
    max_connections: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="Most connections of clients at once; 64 more are kept for undo and cancel.",
    )
    max_body_memory_mib: int = Field(
        default=256,
        ge=64,
        le=1_048_576,
        description="Memory for large requests and answers (over 64 KiB) on their way, in MiB; a "
        "quarter is for keys that have none of it yet.",
    )
    webhook_allow_networks: Networks = Field(
        default="",
        description="Networks that webhooks may go to though they are not public, also without "
        "TLS, with commas between: 127.0.0.0/8,::1/128 in development.",
    )
    webhook_ports: Ports = Field(
        default="443",
        description="Ports that webhooks may go to at public addresses, with commas between.",
    )
    drain_seconds: float = Field(
        default=25,
        ge=0,
        le=600,
        description="Longest wait at a stop for running deliveries to end.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe lines to log."
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.default_delay_seconds > self.max_delay_seconds:
            raise ValueError(
                f"{option('default_delay_seconds')} ({self.default_delay_seconds}) is longer than "
                f"{option('max_delay_seconds')} ({self.max_delay_seconds}): "
                "shorten the first or raise the second."
            )
        if self.port == self.metrics_port != 0:
            raise ValueError(
                f"{option('port')} and {option('metrics_port')} are both {self.port}: "
                "give the metrics a port of their own."
            )
        files = self.relay_ca_file or self.relay_client_cert_file or self.relay_client_key_file
        if files and self.dev and self.relay_url is None:
            names = "--relay-ca-file, --relay-client-cert-file and --relay-client-key-file"
            raise ValueError(f"{names} are for a relay: name one with --relay-url, or drop them.")
        return self


def option(name: str) -> str:
    """Return a field's option on the command line."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return a field's environment variable; with ``_FILE`` it names a file with the value."""
    return _PREFIX + name.upper()


def load(
    given: Mapping[str, object], environ: Mapping[str, str], *, serving: bool = True
) -> Settings:
    """Return what was chosen: ``given`` wins over variables, these over files they name.

    An empty variable counts as not set. Only a service that is to ``serve`` needs a relay.

    Raises:
        Misconfigured: says all that is wrong, where it is written and what to do; never
            contains a relay or database URL.
    """
    values, places = _variables(environ)
    values |= given
    places |= {name: option(name) for name in given}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise _misconfigured([_sentence(one, values, places) for one in details]) from None
    if serving and not settings.dev and settings.relay_url is None:
        raise Misconfigured(
            f"There is no relay to send through. Name one with {option('relay_url')}, "
            f"{variable('relay_url')} or {variable('relay_url')}_FILE "
            "(smtp://user:password@host:587), or start with --dev, which keeps all mail in an "
            "inbox on this machine."
        )
    return settings


def data(name: str) -> Path:
    """Return the folder ``name`` shipped with undosend: in the package, else in the checkout."""
    package = Path(__file__).parent
    places = (package / f"_{name.replace('-', '_')}", package.parent / name)
    for place in places:
        if place.exists():
            return place
    raise Misconfigured(
        f"This installation is incomplete: neither {places[0]} nor {places[1]} exists. "
        "Install undosend again."
    )


def _variables(environ: Mapping[str, str]) -> tuple[dict[str, object], dict[str, str]]:
    """Return the values of our variables by field, and the variable that each stands in."""
    known = {variable(name) + end: name for name in Settings.model_fields for end in ("", "_FILE")}
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    wrong: list[str] = []
    for key, text in environ.items():
        if not key.upper().startswith(_PREFIX) or not text:
            continue
        name = known.get(key)
        if name is None:
            wrong.append(_unknown(key, known))
        elif name in places:
            wrong.append(f"{variable(name)} and {variable(name)}_FILE are both set: remove one.")
        else:
            places[name] = key
            try:
                values[name] = text if key == variable(name) else _content(key, text)
            except Misconfigured as error:
                wrong.append(str(error))
    if wrong:
        raise _misconfigured(wrong)
    return values, places


def _content(key: str, path: str) -> str:
    if "://" in path:  # a URL in the wrong variable may hold a password: do not repeat it
        raise Misconfigured(
            f"{key} takes the name of a file, and this is a URL: "
            f"put the URL itself into {key.removesuffix('_FILE')}."
        )
    try:
        text = Path(path).read_text("utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Misconfigured(
            f"{key} names {path}, which cannot be read ({reason}): "
            "mount the file there, let the service's user read it, or remove the variable."
        ) from None
    if not text:
        raise Misconfigured(f"{key} names {path}, which is empty: write the value into it.")
    return text


def _unknown(key: str, known: Mapping[str, str]) -> str:
    if _SERVICE_LINK.fullmatch(key):
        return f"{key} is no setting. {_SERVICE_LINKS}"
    nearest = difflib.get_close_matches(key.upper(), known, n=1, cutoff=0)[0]
    return (
        f"{key} is no setting; the nearest is {nearest}. Rename or remove it "
        "(`undosend serve --help` lists them all)."
    )


def _sentence(error: ErrorDetails, values: Mapping[str, object], places: Mapping[str, str]) -> str:
    cause = error.get("ctx", {}).get("error")
    if not error["loc"]:
        return str(cause)
    name = str(error["loc"][0])
    place = places.get(name, option(name))
    if name not in Settings.model_fields:
        return f"{place} is no setting (`undosend serve --help` lists them all)."
    if cause is not None:
        return f"{place}: {cause}"
    field, value = Settings.model_fields[name], values[name]
    shown = "wrong" if name in _CONFIDENTIAL else repr(value)
    end = _SERVICE_LINKS if str(value).startswith("tcp://") else _repair(field)
    return f"{place} is {shown}, but it takes {accepted(field)}. {end}"


def accepted(field: FieldInfo) -> str:
    """Return in words what the field takes: ``a whole number from 0 to 65535``."""
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(get_args(field.annotation))
    words = [_KINDS.get(field.annotation, "a text")]
    for limit in field.metadata:
        match limit:
            case Ge():
                words.append(f"from {limit.ge}")
            case Gt():
                words.append(f"above {limit.gt}")
            case Le():
                words.append(f"up to {limit.le}")
            case MinLen():
                words.append("that is not empty")
    return " ".join(words)


def _repair(field: FieldInfo) -> str:
    return "Correct it" + (
        "." if field.default is None else f", or remove it for the default ({field.default})."
    )


def _misconfigured(sentences: list[str]) -> Misconfigured:
    return Misconfigured(" Also: ".join(sentences))

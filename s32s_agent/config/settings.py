"""What the config says, as values; how they are read from its text is `config`'s business."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from s32s_agent.model import Location, Role

ALWAYS_ALLOWED_DELETES = 10
"""A guard that holds back the ordinary removal of a few files would soon be switched off."""


class Symlinks(Enum):
    """What a master does with a symbolic link."""

    SKIP = "skip"
    FOLLOW = "follow"


@dataclass(frozen=True, slots=True)
class MapsLocation:
    """Where the map files are."""

    location: Location
    single: bool
    """The location is one map file, not a prefix with map files below it."""


@dataclass(frozen=True, slots=True)
class MaxDelete:
    """How many deletions one pass may make; one of the two is set."""

    percent: float | None = None
    """Of the target's entries."""
    count: int | None = None

    def allowed(self, entries: int) -> int:
        """Return the number of deletions that pass at a target with that many entries."""
        limit = (
            self.count if self.count is not None else int(entries * (self.percent or 0) / 100)
        )
        return max(ALWAYS_ALLOWED_DELETES, limit)


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How S3 is reached; what is None comes from the usual AWS chain."""

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    """Without a slash at its end."""
    allow_http: bool = False
    addressing_style: str = "auto"
    """`auto`, `path` or `virtual`."""
    ca_bundle: str | None = None
    requester_pays: bool = False
    expected_bucket_owner: str | None = None
    server_side_encryption: str | None = None
    """`AES256` or `aws:kms`."""
    kms_key_id: str | None = None


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How a mapping is carried out."""

    workers: int = 16
    max_bandwidth: int | None = None
    """Bytes a second, all workers together."""
    max_delete: MaxDelete = MaxDelete(percent=25.0)
    allow_empty_source: bool = False
    durable: bool = True
    trash_days: float = 7.0
    """0 keeps nothing."""
    file_mode: int = 0o644
    dir_mode: int = 0o755
    owner: str | None = None
    """`user[:group]`, names or numbers."""
    symlinks: Symlinks = Symlinks.SKIP
    run_timeout: float | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how it looks."""

    level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
    format: str = "auto"
    """`auto`, `json`, `logfmt`, `console` or `journal`."""


@dataclass(frozen=True, slots=True)
class MonitoringSettings:
    """Whom a pass reports to."""

    metrics_file: str | None = None
    """In normal form; its name ends in `.prom`."""
    ping_url: str | None = None
    """Whoever knows it can report in this computer's name."""
    report: Location | None = None
    """A prefix, apart from the maps."""


Command = tuple[str, ...]
"""A program and its arguments; no shell reads them."""


@dataclass(frozen=True, slots=True)
class OnChange:
    """What runs after files were changed; one of the two is empty."""

    of_all: tuple[Command, ...] = ()
    """Once a pass, whichever mappings changed."""
    by_mapping: dict[str, tuple[Command, ...]] = field(default_factory=dict)
    """Once for each of these mappings that changed."""

    def of(self, mapping: str) -> tuple[Command, ...]:
        """Give the commands that a change in a mapping calls for."""
        return self.of_all or self.by_mapping.get(mapping, ())


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Commands around a pass."""

    before: tuple[Command, ...] = ()
    on_change: OnChange = OnChange()
    after: tuple[Command, ...] = ()
    on_failure: tuple[Command, ...] = ()
    timeout: float = 60.0
    """Seconds, for each command."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The config file, checked."""

    role: Role
    maps: MapsLocation
    roots: tuple[str, ...]
    """Local directories in normal form; a map may name them and what is below them."""
    state_dir: str = "/var/lib/s32s-agent"
    s3: S3Settings = S3Settings()
    sync: SyncSettings = SyncSettings()
    log: LogSettings = LogSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    hooks: HookSettings = HookSettings()

"""The config file as values, and the table of its options: each field is one option, with its form, default and help.

How the text of the file is read is the business of `config_file`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from s32s_agent.config.forms import (
    BOOLEAN,
    DIRECTORY,
    LOCATION,
    TEXT,
    list_of,
    member_of,
    number,
    one_of,
    or_null,
    whole_number,
)
from s32s_agent.config.hook_commands import COMMANDS, ON_CHANGE, Command, OnChange
from s32s_agent.config.option_forms import (
    ACCOUNT,
    BANDWIDTH,
    CHANNEL,
    DIRECTORY_PERMISSIONS,
    DURATION,
    ENDPOINT,
    LOG_FORMATS,
    LOG_LEVELS,
    MAPS,
    MAX_DELETE,
    METRICS_FILE,
    OWNER,
    PERMISSIONS,
    PING_URL,
    REGION,
    MapsLocation,
    MaxDelete,
    Modes,
    Symlinks,
)
from s32s_agent.config.options import needed, option, section
from s32s_agent.model import Location, Role


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How S3 is reached; what is None comes from the usual AWS chain."""

    profile: str | None = option("A profile of `~/.aws`.", or_null(TEXT))
    region: str | None = option("The region of the buckets.", or_null(REGION))
    endpoint_url: str | None = option(
        "The address of a store other than AWS.",
        or_null(ENDPOINT),
        example="https://s3.example.net:9000",
    )
    """Without a slash at its end."""
    allow_http: bool = option(
        "Permit `http://` to other computers: data is then not encrypted on its way. To this computer it is always"
        " permitted.",
        BOOLEAN,
        default=False,
    )
    addressing_style: str | None = option(
        "Where requests name the bucket: in the path, or in the name of the host (`virtual`). `null` is what the AWS"
        " config says, and else `auto`: in the path at an `endpoint_url`, in the name of the host at AWS.",
        or_null(one_of("auto", "path", "virtual")),
    )
    ca_bundle: str | None = option(
        "A PEM file with the certificates to trust. `AWS_CA_BUNDLE`, `HTTPS_PROXY` and `NO_PROXY` are honoured too.",
        or_null(DIRECTORY),
    )
    requester_pays: bool = option(
        "Agree to pay for the requests.",
        BOOLEAN,
        default=False,
    )
    expected_bucket_owner: str | None = option(
        "The account that must own the buckets. Every LIST, HEAD and DELETE asks for it, GET and small PUT do not.",
        or_null(ACCOUNT),
        example="123456789012",
    )
    server_side_encryption: str | None = option(
        "Role master: how the store encrypts objects.", or_null(one_of("AES256", "aws:kms"))
    )
    kms_key_id: str | None = option(
        "Role master: the key of KMS. Needs `server_side_encryption: aws:kms`.",
        or_null(TEXT),
    )
    anonymous: bool = option(
        "Ask without credentials, for public buckets.",
        BOOLEAN,
        default=False,
    )


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How a mapping is carried out."""

    workers: int = option(
        "Objects that are copied at the same time. Of small ones (up to 256 KiB), which mostly wait for the network, up"
        " to eight times as many, at most 256.",
        whole_number(1, 256, "a count"),
        default=16,
    )
    channel: str = option(
        "The channel that mappings with `snapshots` follow or, in role master, publish to.",
        CHANNEL,
        default="current",
    )
    max_bandwidth: int | None = option(
        "The limit of all workers together.", or_null(BANDWIDTH), example="20MB"
    )
    """Bytes a second."""
    max_delete: MaxDelete = option(
        "A run that would delete more of a target's entries deletes none. Up to 10 deletions are always allowed;"
        " `--allow-deletes` lifts the guard for one run.",
        MAX_DELETE,
        default="25%",
    )
    allow_empty_source: bool = option(
        "Believe a source that holds nothing at all. An empty source usually is a mistake, and is refused, even where"
        " nothing would be deleted.",
        BOOLEAN,
        default=False,
    )
    durable: bool = option(
        "Write data to the disk before the index records it.", BOOLEAN, default=True
    )
    trash_days: float = option(
        "Role slave: how long removed files, and local edits that were overwritten, are kept. `0` keeps nothing.",
        number(0, 36500, "a number of days"),
        default=7,
    )
    modes: Modes = option(
        "Role slave: restore the mode that an object carries, or ignore it; all files then have `file_mode`.",
        member_of(Modes),
        default="restore",
    )
    file_mode: int = option(
        "Role slave: mode of a file whose object carries no mode, or, with `modes: ignore`, of every file.",
        PERMISSIONS,
        default="0644",
    )
    dir_mode: int = option(
        "Role slave: mode of the directories that the agent creates. In a directory with the set-group-id bit they have"
        " it too, and its group, whether or not this mode has it.",
        DIRECTORY_PERMISSIONS,
        default="0755",
    )
    owner: str | None = option(
        "Role slave: owner of the files, names or numbers. Without a group, the user's own group; `null` is the user"
        " that the agent runs as.",
        or_null(OWNER),
        example="www-data:www-data",
    )
    symlinks: Symlinks = option(
        "Role master: skip symbolic links, or follow them, but never out of the mapping's directory.",
        member_of(Symlinks),
        default="skip",
    )
    run_timeout: float | None = option(
        "A run stops after this time, and the next run resumes where it stopped.",
        or_null(DURATION),
        example="30m",
    )
    """Seconds."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how it looks."""

    level: str = option(
        "The least important events that are logged.",
        one_of(*LOG_LEVELS),
        default="info",
    )
    format: str = option(
        "`auto` is `console` on a terminal, `journal` in a unit of systemd, and `json` elsewhere.",
        one_of(*LOG_FORMATS),
        default="auto",
    )


@dataclass(frozen=True, slots=True)
class MonitoringSettings:
    """Where a run reports what it did."""

    metrics_file: str | None = option(
        "A file for the textfile collector of Prometheus. Its name becomes the label `instance_name`; agents of one"
        " computer need different ones.",
        or_null(METRICS_FILE),
        example="/var/lib/prometheus/node-exporter/s32s_agent.prom",
    )
    ping_url: str | None = option(
        "A URL that the agent requests when a run starts, with `/start` added, and when it ends, with `/<exit status>`"
        " added. Everyone who knows the URL can report in this computer's name: keep this file from other users.",
        or_null(PING_URL),
        example="https://hc-ping.com/your-uuid",
    )
    report: Location | None = option(
        "Where each run leaves its report for `--fleet`: a prefix apart from the maps and from all mappings.",
        or_null(LOCATION),
        example="bucketname/S32SFLEET",
    )


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Commands around a run."""

    before: tuple[Command, ...] = option(
        "Before each run. When it fails, there is no run.",
        COMMANDS,
        default=[],
        example=["/usr/local/sbin/make-room"],
    )
    on_change: OnChange = option(
        "After a run that changed files, for all mappings together or by the names of mappings. A command that fails"
        " runs again after the next run.",
        ON_CHANGE,
        default=[],
        example={"site": ["/usr/bin/touch", "/var/lib/s32s-agent/reload.nginx"]},
    )
    after: tuple[Command, ...] = option("After each run.", COMMANDS, default=[])
    on_failure: tuple[Command, ...] = option(
        "After each run that has begun and whose exit status is not 0.", COMMANDS, default=[]
    )
    timeout: float = option("How long one command may run.", DURATION, default="60s")
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The config file, checked."""

    role: Role = field(
        metadata=needed(
            "`slave` makes local directories equal to S3, `master` makes S3 equal to local directories.",
            member_of(Role),
            example="slave",
        )
    )
    maps: MapsLocation = field(
        metadata=needed(
            'Where the map files are: a "directory" in S3, or one file that ends in `.json`, `.yaml` or `.yml`. `s3://`'
            " may precede it; the bucket may be the ARN of an access point.",
            MAPS,
            example="bucketname/S32SMAP/foo/data",
        )
    )
    roots: tuple[str, ...] = field(
        metadata=needed(
            "The local directories that a map may name, with everything below them. A mapping with a directory outside"
            " of all of them fails: the writers of map files must not choose any directory of this computer.",
            list_of(DIRECTORY, "a list of local directories"),
            example=["/srv/www", "/srv/data"],
        )
    )
    """In normal form."""
    state_dir: str = option(
        "The agent's own directory: index, cached maps, lock, `last_run.json`. The agent creates it if its parent"
        " exists. No mapping may overlap it.",
        DIRECTORY,
        default="/var/lib/s32s-agent",
    )
    s3: S3Settings = section(
        "How S3 is reached. What is `null` here comes from the usual AWS chain: environment, `~/.aws`, SSO, the"
        " instance's role.",
        S3Settings,
    )
    sync: SyncSettings = section("How mappings are carried out.", SyncSettings)
    log: LogSettings = section("What is logged, and how it looks.", LogSettings)
    monitoring: MonitoringSettings = section(
        "Where a run reports what it did.", MonitoringSettings
    )
    hooks: HookSettings = section(
        "Commands around a run. A command is a program and its arguments, as in `[/usr/bin/logger, changed]`; no shell"
        " reads it.",
        HookSettings,
    )

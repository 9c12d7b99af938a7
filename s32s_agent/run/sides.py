"""Open the two sides of a mapping, S3 and the local directory. The role only chooses which of them is the source."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from s32s_agent.config.option_forms import Symlinks
from s32s_agent.errors import ConfigError, DeletesRefused
from s32s_agent.model import Entry, Mapping, Role
from s32s_agent.run.context import RunContext
from s32s_agent.run.state_directory import BATCHES, UPLOADS
from s32s_agent.state.index import MappingIndex
from s32s_agent.stores.base import Content, Source, Target
from s32s_agent.stores.local.path_root import open_root
from s32s_agent.stores.local.source import LocalSource
from s32s_agent.stores.memory import MemoryStore
from s32s_agent.stores.s3.source import S3Source
from s32s_agent.stores.s3.traits import AS_AWS, StoreTraits

if TYPE_CHECKING:
    from s32s_agent.stores.local.target import LocalTarget
    from s32s_agent.stores.s3.target import S3Target


class Sides(NamedTuple):
    """Both sides of a mapping, open."""

    source: Source
    target: Target
    remote: S3Source | S3Target
    """The one of them that is in S3."""
    open_local: Callable[[Entry], AbstractContextManager[Content]]
    """Opens a file of the one that is a directory."""
    learn_traits: Callable[[], StoreTraits]
    """Finds out what the store in S3 can do, where it is about to be written; only after both sides were listed."""


@contextlib.contextmanager
def open_sides(
    context: RunContext,
    mapping: Mapping,
    directory: str,
    index: MappingIndex,
) -> Iterator[Sides]:
    """Open both sides, and close them at the end.

    Args:
        context: of the run.
        mapping: whose sides they are.
        directory: the local one, its links resolved.
        index: the mapping's.

    Raises:
        DeletesRefused: a master's directory cannot be opened, so nothing is known about what is in it.
        DirectoryError: a slave's directory cannot be opened or made.
        ConfigError: a slave on a system without POSIX calls.
    """
    if context.settings.role is Role.SLAVE:
        # A slave has nothing with which it could write or delete in S3.
        bucket = _source_of(context, mapping)
        with _target_directory(context, directory, index) as target:
            yield Sides(bucket, target, bucket, target.open, lambda: AS_AWS)
    else:
        # Imported here, so that in a slave's process nothing exists that could write or delete in S3.
        from s32s_agent.run.store_traits import learn_traits  # noqa: PLC0415

        remote = _s3_target(context, mapping)
        learn = functools.partial(learn_traits, context, mapping, remote)
        with _source_directory(context, directory, index) as source:
            yield Sides(source, remote, remote, source.open, learn)


def _source_of(context: RunContext, mapping: Mapping) -> S3Source:
    """Return the prefix in S3 as a slave reads it: as a snapshot lists it, or as the store does."""
    if mapping.snapshots is None:
        return S3Source(context.connection, mapping.location)
    # Imported here, since most mappings have none, and a run in which nothing changed mostly imports.
    from s32s_agent.run.snapshots import open_source  # noqa: PLC0415

    return open_source(context, mapping, mapping.snapshots)


def _s3_target(context: RunContext, mapping: Mapping) -> S3Target:
    # Imported here, as above.
    from s32s_agent.stores.s3.target import S3Target, UploadOptions  # noqa: PLC0415
    from s32s_agent.stores.s3.unfinished_uploads import Uploads  # noqa: PLC0415

    settings = context.settings
    options = UploadOptions(
        Uploads(Path(settings.state_dir, UPLOADS)),
        mapping.content_types,
        mapping.content_encoding,
        mapping.cache_control,
        mapping.acl,
        mapping.storage_class,
    )
    return S3Target(context.connection, mapping.location, options)


@contextlib.contextmanager
def _source_directory(
    context: RunContext, directory: str, index: MappingIndex
) -> Iterator[LocalSource]:
    try:
        root = open_root(directory)
    except OSError as error:
        remedy = "mount the disk, or fix the map file; nothing was deleted in S3"
        raise DeletesRefused(f'"{directory}": {error.strerror}', remedy=remedy) from error
    with contextlib.closing(root):
        source = LocalSource(
            root,
            index.rows,
            trust_index=not context.options.verify,
            follow_links=context.settings.sync.symlinks is Symlinks.FOLLOW,
            enters_mounts=True,
        )
        yield source


@contextlib.contextmanager
def _target_directory(
    context: RunContext, directory: str, index: MappingIndex
) -> Iterator[LocalTarget | MemoryStore]:
    """Open the directory that is written; one that a dry run must not make is empty."""
    options, settings = context.options, context.settings
    if options.dry_run and _is_missing(directory):
        yield MemoryStore()
    elif sys.platform != "win32":
        from s32s_agent.stores.local.target import open_target  # noqa: PLC0415 (POSIX only)

        store = open_target(
            directory,
            index,
            settings.sync,
            context.run_id,
            trust_index=not options.verify,
            notes=Path(settings.state_dir, BATCHES),
        )
        with contextlib.closing(store):
            if not options.dry_run:
                store.lock()
            yield store
    else:
        raise ConfigError("role", ["a slave needs a POSIX system"])


def _is_missing(directory: str) -> bool:
    """Return whether nothing is there; what may not be looked at is reported when it is opened."""
    try:
        Path(directory).stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False

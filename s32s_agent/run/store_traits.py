"""What a master knows about the store that it is about to write: from an earlier run, or by trying it out now.

A slave's process makes none of this: it could not write.
"""

from __future__ import annotations

from pathlib import Path

from s32s_agent.errors import AgentError
from s32s_agent.model import Mapping
from s32s_agent.run.context import RunContext
from s32s_agent.run.state_directory import STORES
from s32s_agent.stores.s3.known_traits import KnownTraits
from s32s_agent.stores.s3.target import S3Target
from s32s_agent.stores.s3.traits import StoreTraits, promises


def learn_traits(context: RunContext, mapping: Mapping, target: S3Target) -> StoreTraits:
    """Have a target decide by what its store was found to do.

    AWS is what the traits are compared with, so it is not tried out. Where the store does not let it be found out, the
    target takes it for AWS, and learns from refusals.

    Args:
        context: of the run; a dry run writes nothing, so it tries nothing out.
        mapping: the first of the bucket that is about to change something.
        target: its prefix, listed already.

    Returns:
        What the target decides by from now on.

    Raises:
        DirectoryError: it cannot be remembered.
    """
    connection, bucket = context.connection, mapping.location.bucket
    if not connection.custom_endpoint:
        return target.traits
    known = KnownTraits(Path(context.settings.state_dir, STORES), context.now)
    store = f"{connection.endpoint} {bucket}"
    traits = known.of(store, target.server)
    if traits is None and not context.options.dry_run:
        from s32s_agent.stores.s3.probe import probe  # noqa: PLC0415 (once for each store)

        try:
            traits = probe(connection, mapping.location)
        except AgentError as error:
            context.log.info("store.unprobed", bucket=bucket, reason=str(error))
            return target.traits
        known.remember(store, traits)
        lacks = [
            f"{each.subject}: {each.found}" for each in promises(traits) if each.consequence
        ]
        context.log.info("store.probed", bucket=bucket, server=traits.server, lacks=lacks)
    if traits is not None:
        target.traits = traits
    return target.traits

"""Try out the store of a bucket for `--check`: what it can promise, and what follows where it cannot."""

from __future__ import annotations

from collections.abc import Iterator

from s32s_agent.commands.findings import Finding
from s32s_agent.errors import AgentError
from s32s_agent.model import Location, Role
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.listing import Listed, Page, decoded_keys
from s32s_agent.stores.s3.objects import ObjectName
from s32s_agent.stores.s3.observation import observe
from s32s_agent.stores.s3.traits import StoreTraits, promises

_SUBJECT_WIDTH = 30


def try_store(
    connection: Connection, location: Location, role: Role, page: Page
) -> Iterator[Finding]:
    """Yield what the store of a bucket can promise.

    A master tries it with objects of its own, which it removes; a slave can only read what is there.

    Args:
        connection: how the store is reached.
        location: of the first mapping in this bucket.
        role: the agent's.
        page: the beginning of its listing.
    """
    subject = f'store of "{location.bucket}"'
    try:
        traits = _traits(connection, location, role, page)
    except AgentError as error:
        yield Finding(subject, error=error)
        return
    if traits is None:
        return
    # A slave has tried three things; the rest is what AWS does, and says nothing about this store.
    shown = [each for each in promises(traits) if each.consequence or role is Role.MASTER]
    if shown:
        name = traits.server or "it does not say its name"
        yield Finding(subject, name, bucket=location.bucket, traits=traits)
    for each in shown:
        follows = f"; {each.consequence}" if each.consequence else ""
        detail = f"{each.subject:<{_SUBJECT_WIDTH}} {each.found}{follows}"
        is_note = bool(each.consequence) and not each.is_risk
        yield Finding(subject, detail, warning=each.is_risk, note=is_note)


def _traits(
    connection: Connection, location: Location, role: Role, page: Page
) -> StoreTraits | None:
    if role is Role.MASTER:
        # Imported here, so that in a slave's process nothing exists that could write or delete in S3.
        from s32s_agent.stores.s3.probe import probe  # noqa: PLC0415

        return probe(connection, location, with_parts=True)
    found = first_filled(location.bucket, page)
    if found is None:
        return None
    name, listed = found
    return observe(connection, name, lists_etags=bool(listed.etag))


def first_filled(bucket: str, page: Page) -> tuple[ObjectName, Listed] | None:
    """Return the first object of a page that is not empty; None where there is none."""
    for key, listed in zip(decoded_keys(page), page.contents, strict=True):
        if listed.size != "0":
            return ObjectName(bucket, key, f'"{bucket}/{key}"'), listed
    return None

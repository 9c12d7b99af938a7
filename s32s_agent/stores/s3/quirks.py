"""What no request can find out about a store, so that it has to be known; each fact was measured or is documented.

| store | what it does | what follows |
|---|---|---|
| SeaweedFS and others | list by directory, not by key | outside AWS disorder is a habit: the scan sorts |
| directory buckets of AWS | list in no order, fold keys into prefixes | the scan sorts; folding is no fault |
| SeaweedFS | `StartAfter` follows its own order | its pages can be fetched in parallel all the same |
| SeaweedFS | encodes a blank as `%20` in directories, as `+` in the last part | only last parts show what `+` is |
| SeaweedFS | keeps a directory for minutes after its last object | an object of that name is refused until then |
| SeaweedFS | takes a directory with something in it for a marker | markers are written without a precondition |
| SeaweedFS | makes a slash of a backslash in a key | the agent looks for what it has written |
| Ceph | sends empty pages in the middle of a listing | they are no end, up to a limit |
| B2 | answers 501 to a conditional write | the agent compares by itself before it writes |
| all but AWS | may not know the newer checksums and trailers | none is sent; a part carries its MD5 instead |

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

_SEAWEEDFS = "SeaweedFS"
_DIRECTORY_BUCKET = "--x-s3"


def is_seaweedfs(server: str) -> bool:
    """Return whether a store is SeaweedFS, by its `Server` header."""
    return server.startswith(_SEAWEEDFS)


def is_directory_bucket(bucket: str) -> bool:
    """Return whether a bucket is one of S3 Express One Zone, by its name."""
    return bucket.endswith(_DIRECTORY_BUCKET)


def may_list_unordered(bucket: str, *, custom_endpoint: bool) -> bool:
    """Return whether disorder in a listing is a habit of the store and no sign of a fault."""
    return custom_endpoint or is_directory_bucket(bucket)


def may_start_after(server: str, *, unordered: bool) -> bool:
    """Return whether `StartAfter` leaves out no key of the listing, though the store may list out of key order."""
    return not unordered or is_seaweedfs(server)


def may_change_name(key: str, *, custom_endpoint: bool) -> bool:
    """Return whether the store may keep a key under another name than it was sent with."""
    return custom_endpoint and "\\" in key


def plus_is_blank(encoded_keys: Sequence[str]) -> bool:
    """Return whether `+` stands for a blank in the encoded keys of a page.

    A store that writes a blank as `%20` may leave `+` as it is; one that writes it as `+` writes `+` as `%2B`.
    """
    plus_stays = any("%20" in key.rpartition("/")[2] for key in encoded_keys)
    escaped = any("%2B" in key or "%2b" in key for key in encoded_keys)
    return escaped or not plus_stays

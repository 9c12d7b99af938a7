"""What is kept beside an object."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.stores.base import Attributes
from s32s_agent.stores.s3.metadata import attributes_of, is_link, metadata_of

LATEST_NS = (1 << 33) * 10**9
UPLOADED = datetime(2026, 11, 22, 20, 40, 12, 345678, tzinfo=UTC)


@pytest.mark.parametrize(
    ("mtime_ns", "expected"),
    [
        (1_700_000_000_123_456_789, "1700000000.123456789"),
        (1_700_000_000_000_000_001, "1700000000.000000001"),
        (1_700_000_000_000_000_000, "1700000000"),
        (0, "0"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.500000000"),
    ],
)
def test_mtime(mtime_ns: int, expected: str) -> None:
    """Seconds with nine digits where there are any; before 1970 the digits count upwards, as the reader adds them."""

    assert metadata_of(Attributes(mtime_ns)) == {"mtime": expected}


def test_mode() -> None:
    """Octal, four digits; what is not known is not said."""

    assert metadata_of(Attributes(mode=0o644)) == {"mode": "0644"}
    assert metadata_of(Attributes(mode=0)) == {"mode": "0000"}
    assert metadata_of(Attributes()) == {}


@given(
    st.integers(-LATEST_NS, LATEST_NS) | st.none(),
    st.integers(0, 0o777) | st.none(),
)
def test_attributes_survive_the_way_through_s3(mtime_ns: int | None, mode: int | None) -> None:
    """What is written is read again, exactly."""
    written = metadata_of(Attributes(mtime_ns, mode))
    read = attributes_of(written, UPLOADED)

    assert read.mode == mode
    if mtime_ns is not None:
        assert read.mtime_ns == mtime_ns


@pytest.mark.parametrize(
    ("metadata", "mtime_ns", "mode"),
    [
        ({}, 1_795_380_012_000_000_000, None),
        ({"MTIME": "12.5", "Mode": "0640"}, 12_500_000_000, 0o640),
        ({"mtime": "12.1234567899"}, 12_123_456_789, None),
        ({"mtime": "99999999999"}, 1_795_380_012_000_000_000, None),
        ({"mtime": "1e3", "mode": "rw-r--r--"}, 1_795_380_012_000_000_000, None),
        ({"mtime": "12\n", "mode": "0999"}, 1_795_380_012_000_000_000, None),
        ({"mode": "100644"}, 1_795_380_012_000_000_000, 0o644),
        ({"mode": "4755"}, 1_795_380_012_000_000_000, 0o755),
    ],
)
def test_what_other_programs_write_beside_an_object(
    metadata: dict[str, str], mtime_ns: int, mode: int | None
) -> None:
    """Names in any case; what is no time or mode, or none that a file can have, counts as absent; no set-user-id."""
    assert attributes_of(metadata, UPLOADED) == Attributes(mtime_ns, mode)


@pytest.mark.parametrize(
    ("metadata", "mtime_ns", "mode"),
    [
        ({"mode": "0600", "mtime": "1700000000.000000001"}, 1_700_000_000_000_000_001, 0o600),
        ({"mode": "100600", "mtime": "1600000000.5"}, 1_600_000_000_500_000_000, 0o600),
        ({"mode": "104755", "mtime": "-5.5"}, -5_500_000_000, 0o755),
        ({"mode": "33152", "mtime": "1600000000.500000000"}, 1_600_000_000_500_000_000, 0o600),
        ({"mode": "33184", "mtime": "1600000000"}, 1_600_000_000_000_000_000, 0o640),
        ({"mode": "33204"}, None, 0o664),
        ({"mode": "33261"}, None, 0o755),
        ({"mode": "35309"}, None, 0o755),
        (
            {"file-permissions": "0100600", "file-mtime": "1595002920000000000ns"},
            1_595_002_920_000_000_000,
            0o600,
        ),
        (
            {"file-permissions": "0100664", "file-mtime": "1595002920123"},
            1_595_002_920_123_000_000,
            0o664,
        ),
        (
            {"goog-reserved-posix-mode": "600", "goog-reserved-file-mtime": "1700000000"},
            1_700_000_000_000_000_000,
            0o600,
        ),
        (
            {
                "s3cmd-attrs": "atime:1/ctime:2/gid:0/gname:root/md5:900150983cd24fb0d6963f7d28e17f72"
                "/mode:33152/mtime:1700000000/uid:0/uname:root"
            },
            1_700_000_000_000_000_000,
            0o600,
        ),
        (
            {"mc-attrs": "atime:1#2/gid:0/gname:/mode:33152/mtime:1700000000#5/uid:0/uname:"},
            1_700_000_000_000_000_005,
            0o600,
        ),
        ({"md5": "900150983cd24fb0d6963f7d28e17f72", "privilege": "600"}, None, 0o600),
    ],
    ids=[
        "this agent", "rclone", "rclone, set-user-id, before 1970", "s3fs 0600", "s3fs 0640",
        "s3fs 0664", "s3fs 0755", "s3fs 4755", "DataSync", "FSx for Lustre", "gsutil", "s3cmd",
        "mc", "s4cmd",
    ],
)  # fmt: skip
def test_a_private_file_that_every_user_may_read_or_write(
    metadata: dict[str, str], mtime_ns: int | None, mode: int
) -> None:
    """Each program spells a mode differently, and none of them becomes another mode, or the default."""
    expected = Attributes(mtime_ns or 1_795_380_012_000_000_000, mode)

    assert attributes_of(metadata, UPLOADED) == expected
    assert not is_link("k", metadata)


@pytest.mark.parametrize(
    "mode",
    [
        "", "0", "7", "44", "8", "0o644", "0x1a4", "rw-r--r--", " 0600", "0600 ", "0600\n", "-600",
        "\N{ARABIC-INDIC DIGIT ZERO}600", "0689", "65536", "99999", "200644", "1006440", "2384495103",
        "16877", "40755", "040755", "0040755", "49572", "0140644", "24996", "8612", "4516448",
    ],
)  # fmt: skip
def test_a_number_that_is_no_mode_of_a_file_is_not_read_as_one(mode: str) -> None:
    """Directories, sockets, devices, other digits and other numbers: the settings say the mode."""
    assert attributes_of({"mode": mode}, UPLOADED).mode is None


@given(st.integers(0, 0o7777))
def test_every_spelling_of_a_mode_means_the_same(permissions: int) -> None:
    """Octal and decimal, with and without the type of a regular file; bits above 0777 never count."""
    whole = 0o100000 | permissions
    spellings = [f"{permissions:04o}", f"{whole:o}", f"0{whole:o}", f"{whole}"]
    spellings += [f"{permissions:o}"] if permissions > 0o77 else []

    found = {attributes_of({"mode": each}, UPLOADED).mode for each in spellings}

    assert found == {permissions & 0o777}


@pytest.mark.parametrize(
    ("key", "metadata"),
    [
        ("k", {"mode": "41471"}),
        ("k", {"mode": "120777"}),
        ("k", {"mode": "0120777"}),
        ("k", {"file-permissions": "0120777"}),
        ("k", {"s3cmd-attrs": "mode:41471/mtime:1"}),
        ("k", {"MC_Attrs": "mode:41471"}),
        ("d/k.rclonelink", {"mode": "120777", "mtime": "1600000000.5"}),
        ("d/k.rclonelink", {"mtime": "1600000000.5"}),
    ],
)
def test_a_link_that_becomes_a_file_which_every_user_may_write(
    key: str, metadata: dict[str, str]
) -> None:
    """An object that stands for a link is known as one, and has no mode."""
    assert is_link(key, metadata)
    assert attributes_of(metadata, UPLOADED).mode is None


def test_a_file_that_is_only_called_like_a_link() -> None:
    """With the mode of a regular file it is one."""
    assert not is_link("k.rclonelink", {"mode": "0644"})
    assert not is_link("k.rclonelink.txt", {})


def test_names_of_metadata_that_a_store_respells() -> None:
    """Stores change the case of names, and some exchange underscores and hyphens."""
    metadata = {
        "Goog_Reserved_Posix_Mode": "0600",
        "FILE-MTIME": "1595002920000000000ns",
        "other": "é=?UTF-8?B?w4PCqQ==?=\udce9",
    }

    assert attributes_of(metadata, UPLOADED) == Attributes(1_595_002_920_000_000_000, 0o600)


def test_a_group_whose_name_pretends_to_be_a_mode() -> None:
    """A field that is there twice says nothing."""
    attributes = "gname:x/mode:33279/mode:33152/mtime:1700000000/uname:y/mtime:5"

    assert attributes_of({"s3cmd-attrs": attributes}, UPLOADED) == Attributes(
        1_795_380_012_000_000_000, None
    )


@pytest.mark.parametrize(
    ("mtime", "expected"),
    [
        (str(LATEST_NS // 10**9), LATEST_NS),
        ("4611686019", 4_611_686_019 * 10**9),
        (f"-{LATEST_NS // 10**9}", -LATEST_NS),
        (str(LATEST_NS // 10**9 + 1), None),
        ("\N{ARABIC-INDIC DIGIT ONE}700000000", None),
    ],
)
def test_times_to_2242(mtime: str, expected: int | None) -> None:
    """As far as file systems go; a later time is none."""
    found = attributes_of({"mtime": mtime}, UPLOADED).mtime_ns

    assert found == (1_795_380_012_000_000_000 if expected is None else expected)

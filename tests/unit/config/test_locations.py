"""Places in S3 and local directories, as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.config.locations import (
    is_inside,
    is_system_directory,
    normal_directory,
    normal_endpoint,
    normal_ping_url,
    parse_location,
)
from s32s_agent.model import Location

POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/point"
OUTPOST = "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-1/accesspoint/point"


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("bucket", "bucket", ""),
        ("bucket/", "bucket", ""),
        ("bucket/a", "bucket", "a"),
        ("bucket/a/b/", "bucket", "a/b"),
        ("s3://bucket/a/b", "bucket", "a/b"),
        ("S3://Old_Bucket/é", "Old_Bucket", "é"),
        ("bucket/a b/..c", "bucket", "a b/..c"),
        (POINT, POINT, ""),
        (POINT + "/a/b/", POINT, "a/b"),
        ("s3://" + POINT.replace("accesspoint/", "accesspoint:") + "/a", POINT, "a"),
        (OUTPOST + "/a", OUTPOST, "a"),
        (
            "arn:aws-cn:s3-outposts:cn-north-1:123456789012:outpost:op-1:accesspoint:point/a",
            "arn:aws-cn:s3-outposts:cn-north-1:123456789012:outpost/op-1/accesspoint/point",
            "a",
        ),
        ("arn:aws:s3:::bucket/a", "bucket", "a"),
    ],
)
def test_parse_location(text: str, bucket: str, prefix: str) -> None:
    """A location splits into a bucket and a prefix without slashes at its ends."""
    actual = parse_location(text)

    assert actual == Location(bucket, prefix)


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:s3::123456789012:accesspoint/x.mrap/a",
        "bucket--use1-az4--x-s3/a",
        "",
        "/",
        "/a",
        "s3://",
        "s3:///a",
        "ab/a",
        "a..b/a",
        ".abc/a",
        "buck et/a",
        "https://bucket/a",
        "bucket//a",
        "bucket/a//",
        "bucket/a//b",
        "bucket/./a",
        "bucket/a/..",
        "bucket/a\n",
        "bucket/\x00",
        "bucket/\ud800",
        "bucket/" + "é" * 501,
        "arn:aws:s3:eu-west-1:1:accesspoint/point",
        "arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/point/a",
        POINT + " x/a",
    ],
)
def test_an_invalid_location_is_refused(text: str) -> None:
    """What names no bucket, or a prefix that is no directory, is refused."""
    with pytest.raises(ValueError, match="expected"):
        parse_location(text)


@given(st.text())
def test_only_value_errors_come_out_of_a_location(text: str) -> None:
    """Any text gives a ValueError or a location that reads back the same."""
    try:
        location = parse_location(text)
    except ValueError:
        return

    assert parse_location(str(location)) == location


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ("/srv/a", "/srv/a"),
        ("/srv/a/", "/srv/a"),
        ("//srv///a//", "/srv/a"),
        ("/", "/"),
        ("/srv/a b/..c/~d/$", "/srv/a b/..c/~d/$"),
        ("c:/path/dir", "c:/path/dir"),
        ("c:\\path\\dir\\", "c:/path/dir"),
        ("C:\\path//dir", "C:/path/dir"),
        ("c:/", "c:/"),
        ("c:/a b/.c", "c:/a b/.c"),
    ],
)
def test_normal_directory(text: str, directory: str) -> None:
    """Equal directories have one spelling."""
    actual = normal_directory(text, windows_ok=True)

    assert actual == directory


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected an absolute path"),
        ("srv", "expected an absolute path"),
        ("c:dir", "expected an absolute path"),
        ("\\\\server\\share", "expected an absolute path"),
        ("~/a", "~ and variables are not expanded"),
        ("$HOME/a", "~ and variables are not expanded"),
        ("/srv/${USER}", "~ and variables are not expanded"),
        ("c:/%USERNAME%/a", "variables are not expanded"),
        ("/srv/../etc", 'without "." and ".."'),
        ("/srv/./a", 'without "." and ".."'),
        ("c:/srv/../a", 'without "." and ".."'),
        ("c:\\srv\\.\\a", 'without "." and ".."'),
        ("c:/a:stream", "that Windows does not change"),
        ("c:/a.", "that Windows does not change"),
        ("c:/a /b", "that Windows does not change"),
        ("/srv/\x00", "without control characters"),
        ("/srv/a\n", "without control characters"),
        ("/srv/\udcff", "without control characters"),
    ],
)
def test_a_path_that_is_relative_or_would_be_expanded_is_refused(
    text: str, message: str
) -> None:
    """What is not absolute, or could mean another directory, is refused."""
    with pytest.raises(ValueError, match=re.escape(message)):
        normal_directory(text, windows_ok=True)


def test_a_slave_has_no_drives() -> None:
    """Where Windows paths are not allowed, one is not absolute."""
    with pytest.raises(ValueError, match="expected an absolute path"):
        normal_directory("c:/path", windows_ok=False)


@given(st.text(alphabet=st.characters() | st.sampled_from("/\\.:c~$%"), max_size=20))
def test_a_normal_directory_stays_as_it_is(text: str) -> None:
    """The normal form of a normal form is itself."""
    try:
        directory = normal_directory("/" + text, windows_ok=True)
    except ValueError:
        return

    assert normal_directory(directory, windows_ok=True) == directory


@pytest.mark.parametrize(
    ("directory", "root", "answer"),
    [
        ("/dir", "/dir", True),
        ("/dir/a", "/dir", True),
        ("/dir-evil", "/dir", False),
        ("/dir", "/dir/a", False),
        ("/dir", "/", True),
        ("/", "/", True),
        ("/", "/dir", False),
        ("/Dir/a", "/dir", False),
        ("C:/Dir/a", "c:/dir", True),
        ("c:/dir", "c:/", True),
        ("c:/dir", "/", False),
        ("d:/dir", "c:/", False),
    ],
)
def test_is_inside(directory: str, root: str, answer: bool) -> None:  # noqa: FBT001 - a table
    """Directories contain each other by components, not by the beginning of their text."""
    actual = is_inside(directory, root)

    assert actual == answer


@pytest.mark.parametrize(
    "directory",
    [
        *("/", "/etc", "/usr", "/var", "/home", "/root", "/opt", "/run", "/tmp", "/var/tmp"),
        *("/var/lib", "/var/log", "/mnt", "/media", "/usr/local", "/home/x"),
        *("/proc", "/proc/1", "/sys/a", "/dev/shm", "/boot", "/boot/efi", "/bin", "/sbin/a"),
        *("/lib", "/lib64/a", "/usr/bin/a", "/usr/sbin", "/usr/lib/systemd", "/usr/lib64"),
        *("/etc/s32s-agent", "/etc/s32s-agent/a", "/data/people/eve", "/data/people", "/data"),
        *("c:/", "C:/Windows", "c:/windows/System32", "c:/Program Files (x86)/a"),
        *("c:/Users", "c:/Users/x", "d:/program files"),
    ],
)
def test_a_system_directory_is_never_emptied(directory: str) -> None:
    """A directory that holds files of other programs is a system directory."""
    assert is_system_directory(directory, {"/data/people/eve"})


@pytest.mark.parametrize(
    "directory",
    [
        *("/srv", "/srv/www", "/var/www", "/var/lib/a", "/home/x/site", "/mnt/disk", "/tmp/a"),
        *("/etc/nginx", "/opt/app", "/library", "/boots", "/data/people/eve/site"),
        *("/data/people/eve2", "/path/slave/dir1"),
        *("c:/path", "c:/Users/x/site", "c:/Windows10"),
    ],
)
def test_a_directory_made_for_data_may_be_mirrored(directory: str) -> None:
    """A directory of its own is no system directory."""
    assert not is_system_directory(directory, {"/data/people/eve"})


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://s3.example.net", "https://s3.example.net"),
        ("https://s3.example.net:9000/", "https://s3.example.net:9000"),
        ("https://S3-a_b.example.net", "https://S3-a_b.example.net"),
        ("https://[2001:db8::1]:9000", "https://[2001:db8::1]:9000"),
        ("http://localhost:8333", "http://localhost:8333"),
        ("https://project.example/storage/v1/s3/", "https://project.example/storage/v1/s3"),
        ("http://127.8.9.10:80", "http://127.8.9.10:80"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_normal_endpoint(text: str, url: str) -> None:
    """The URL of a service comes back without a slash at its end."""
    actual = normal_endpoint(text, allow_http=False)

    assert actual == url


@pytest.mark.parametrize(
    "text",
    [
        *("http://s3.example.net", "http://10.0.0.1", "http://[2001:db8::1]", "http://127.1"),
        *("http://localhost.example.net", "http://127.0.0.1.example.net"),
    ],
)
def test_no_data_is_sent_unencrypted_over_a_network(text: str) -> None:
    """http:// to another computer needs allow_http."""
    actual = normal_endpoint(text, allow_http=True)

    assert actual == text
    with pytest.raises(ValueError, match="expected https://"):
        normal_endpoint(text, allow_http=False)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "s3.example.net",
            "ftp://a.b",
            "https://",
            "https://a.b/p/../q",
            "https://a.b?x",
        ),
        *("https://a.b#x", "https://user:secret@a.b", "https://a.b\\@c.d", "https://a b"),
        *(
            "https://a.b:99999",
            "https://a.b:0",
            "https://a.b:x",
            "https://[::1",
            "https://[zz]",
        ),
        *("https://-a-", "https://a.b\n", "https://a:b:c", "https://[v1.a]"),
    ],
)
def test_an_invalid_endpoint_is_refused_and_no_password_is_repeated(text: str) -> None:
    """A URL with more or less than a host is refused, without its password in the message."""
    with pytest.raises(ValueError, match="expected") as raised:
        normal_endpoint(text, allow_http=True)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://hc-ping.com/uuid", "https://hc-ping.com/uuid"),
        ("https://hc-ping.com/uuid/", "https://hc-ping.com/uuid"),
        (
            "http://monitor:8000/ping/key/slug?create=1",
            "http://monitor:8000/ping/key/slug?create=1",
        ),
        ("https://[::1]:8443/a/?b=c/", "https://[::1]:8443/a?b=c/"),
        ("http://host", "http://host"),
    ],
)
def test_ping_urls(text: str, expected: str) -> None:
    """The path ends without a slash, so that an event can follow; the query stays."""
    assert normal_ping_url(text) == expected

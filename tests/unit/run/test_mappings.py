"""Mappings are loaded and judged in one place, for a run and for `--check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.scripted import ScriptedS3

from s32s_agent.config.config_file import parse
from s32s_agent.errors import MapError, UsageError
from s32s_agent.run.map_files import MapCache
from s32s_agent.run.mappings import LoadedMappings, load_mappings
from s32s_agent.stores.s3.connection import Connection


@pytest.fixture
def loaded(
    tmp_path: Path, scripted: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> LoadedMappings:
    """Six mappings: two that can be run, and one for every way in which one cannot."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    root = tmp_path / "srv"
    root.mkdir()
    (root / "outside").symlink_to("/usr")
    (root / "again").symlink_to(root / "twice")
    directories = {
        "web": root / "web",
        "data": root / "data",
        "led outside": root / "outside",
        "twice": root / "twice",
        "again": root / "again",
    }
    mappings = [
        {"name": name, "s3": f"{scripted.bucket}/{name[:3]}", "slave": str(directory)}
        for name, directory in directories.items()
    ]
    scripted.put("maps/site.json", json.dumps([*mappings, {"name": "no s3"}]).encode())
    config = {
        "role": "slave",
        "maps": f"{scripted.bucket}/maps/site.json",
        "roots": [str(root)],
        "state_dir": str(tmp_path / "state"),
        "s3": {"endpoint_url": scripted.endpoint_url, "addressing_style": "path"},
    }
    settings = parse(json.dumps(config), "test")
    return load_mappings(settings, "", Connection(settings.s3), MapCache(None))


def test_only_mappings_whose_directory_may_be_mirrored_can_be_run(
    tmp_path: Path, loaded: LoadedMappings
) -> None:
    """A link that leads out of the roots, and two names of one directory, delete nothing there."""
    directories = {mapping.name: directory for mapping, directory in loaded.runnable()}

    assert directories == {name: str(tmp_path / "srv" / name) for name in ("web", "data")}


def test_every_mapping_that_cannot_be_run_has_its_reason(loaded: LoadedMappings) -> None:
    """None is left out silently: of each the map file, the directory or the other mapping is named."""
    assert (loaded.files, len(loaded.mappings)) == (1, 5)
    assert [failure.mapping for failure in loaded.failures] == ["no s3"]
    assert list(loaded.refused) == ["led outside"]
    assert sorted(loaded.overlapping) == ["again", "twice"]
    assert isinstance(loaded.refused["led outside"], MapError)
    assert "outside roots" in str(loaded.refused["led outside"])


def test_a_name_that_no_mapping_has_is_refused(loaded: LoadedMappings) -> None:
    """A typing error must not look like a run in which nothing was to do; a mapping with an error has a name, too."""
    loaded.require_known(["web", "no s3", "twice"])
    with pytest.raises(UsageError, match='no mapping is called "wep"') as raised:
        loaded.require_known(["wep"])

    assert raised.value.remedy == 'did you mean "web"?'

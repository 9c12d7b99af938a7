"""Read the config file for the modes that need it, and refuse one that another user could have written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from s32s_agent.arguments import DEFAULT_CONFIG
from s32s_agent.config.config_file import parse
from s32s_agent.config.settings import Settings
from s32s_agent.errors import ConfigError
from s32s_agent.state.files import read_file


def has_config(config: str) -> bool:
    """Return whether there is a config file, or the command line says that there is one."""
    return config != DEFAULT_CONFIG or Path(DEFAULT_CONFIG).exists()


def load_settings(config: str) -> Settings:
    """Read a config file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong.
    """
    path = Path(config)
    try:
        text = read_file(path, follow=True).decode()
    except OSError as error:
        remedy = "name the file with --config; a sample is etc/config.yaml"
        problem = f"cannot be read: {error.strerror}"
        raise ConfigError(str(path), [problem], remedy=remedy) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), ["is not UTF-8"]) from error
    if path.suffix.lower() == ".ini":
        # Users of S32Server have its s32s.ini at hand; read as YAML, it would only produce puzzling errors.
        problem = "is an INI file, expected YAML with role, maps and roots"
        remedy = (
            "the settings of S32Server are not read, its map files are: begin with etc/config.yaml,"
            " and see docs/understand/migrating-from-s32server.md"
        )
        raise ConfigError(str(path), [problem], remedy=remedy)
    return parse(text, str(path))


def load_trusted_settings(config: str) -> Settings:
    """Read a config file, for a mode that believes what it says.

    Raises:
        ConfigError: it is wrong; or another user could have written it, a file of the AWS chain, or a directory above
            one of them.
    """
    settings = load_settings(config)
    if sys.platform != "win32":
        from s32s_agent.config import ownership  # noqa: PLC0415 (POSIX only)

        ownership.require_trusted_config(config)
        ownership.require_trusted_aws_files(settings.s3.ca_bundle, os.environ)
    return settings

"""OpenDWM's file systems: which folder, which archives, which service. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from posixpath import commonpath, join, relpath
from typing import Any

from dwm.opendwm.config.reader import CLASS, Section

LOCAL = "fsspec.implementations.local.LocalFileSystem"
FOLDER = "dwm.fs.dirfs.DirFileSystem"
ZIPS = "dwm.fs.czip.CombinedZipFileSystem"
TARS = "dwm.fs.ctar.CombinedTarFileSystem"
S3 = "dwm.fs.s3fs.ForkableS3FileSystem"
GET_STATE = "dwm.common.get_state"
BOTO = "botocore.config.Config"
FILE_SYSTEMS = (LOCAL, FOLDER, ZIPS, TARS, S3)

KEYS_REASON = "keys are taken from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), never from a file"
CACHED_REASON = "an index of the archives is kept beside them and made when it is missing"
BOTO_REASON = "requests are repeated and spread as the client library does it"


@dataclass(frozen=True)
class Files:
    """Where files lie: a folder (or bucket), archives below it, the address of a service."""

    path: str
    archives: tuple[str, ...] = ()
    endpoint: str | None = None

    def values(self) -> dict[str, Any]:
        """As fields of a source."""
        return {"path": self.path, "archives": list(self.archives), "endpoint": self.endpoint}


@dataclass
class State:
    """The file's `global_state`, looked up by key. Some published files have the keys blanked; then the one that fits is meant."""

    entries: dict[str, Any] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def find(self, section: Section, suits: str, classes: tuple[str, ...]) -> tuple[str, Any]:
        """(name, value) of what a get_state section means; `suits` is part of the name where the key is blank."""
        key = section.take("key")
        section.class_name((GET_STATE,))
        section.close()
        if key:
            if key not in self.entries:
                raise section.fault("key", f"{key!r} is not in global_state ({', '.join(self.entries)})")
            self.used.add(key)
            return key, self.entries[key]
        fitting = [
            name
            for name, value in self.entries.items()
            if suits in name and isinstance(value, dict) and value.get(CLASS) in classes
        ]
        if not fitting:
            raise section.fault(
                "key", f"is empty, and nothing in global_state fits {suits!r} ({', '.join(self.entries)})"
            )
        name = f"{suits}_fs" if f"{suits}_fs" in fitting else fitting[0]
        self.used.add(name)
        section.ledger.note(
            f'the empty key of get_state in {section.path} was read as "{name}", which fits by its name'
        )
        return name, self.entries[name]


def read_files(section: Section, state: State, suits: str) -> Files:
    """The files that a section means, directly or through global_state."""
    if section.is_class(GET_STATE):
        name, value = state.find(section, suits, FILE_SYSTEMS)
        return read_files(Section(value, f"global_state.{name}", section.ledger), state, suits)
    kind = section.class_name(FILE_SYSTEMS)
    reader = {LOCAL: _local, FOLDER: _folder, ZIPS: _archives, TARS: _archives, S3: _s3}[kind]
    files = reader(section, state)
    section.close()
    return files


def _local(section: Section, state: State) -> Files:
    return Files(".")


def _folder(section: Section, state: State) -> Files:
    path = section.take_as(str, "path")
    inner = section.maybe("fs")
    if inner is None:
        return Files(path)
    below = read_files(inner, state, "fs")
    if below.archives:
        raise section.fault(
            "fs",
            f"{path} would be a folder inside archives, which is not read; let the archives' own fs name the folder",
        )
    root = "" if below.path == "." else below.path
    return Files(join(root, path), below.archives, below.endpoint)


def _archives(section: Section, state: State) -> Files:
    paths = section.take_as(list, "paths")
    section.ignore(CACHED_REASON, "enable_cached_info")
    inner = section.maybe("fs")
    below = Files(".") if inner is None else read_files(inner, state, "s3")
    whole = [path if below.path == "." else join(below.path, path) for path in map(str, paths)]
    folder = commonpath([path.rpartition("/")[0] for path in whole]) if whole else below.path
    return Files(folder or ".", tuple(relpath(path, folder or ".") for path in whole), below.endpoint)


def _s3(section: Section, state: State) -> Files:
    section.ignore(KEYS_REASON, "aws_access_key_id", "aws_secret_access_key")
    settings = section.maybe("config")
    if settings is not None:
        settings.class_name((BOTO,))
        section.ignore(BOTO_REASON, "config")
    return Files(".", (), section.take_as(str, "endpoint_url"))

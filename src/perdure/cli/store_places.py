"""Where the settings say that a store and its contents are."""

from __future__ import annotations

from pathlib import Path

from perdure.artifacts.local import LocalStorage
from perdure.settings import ServerSettings
from perdure.store.copying.places import FolderOf, Place, parse_place


def store_place(settings: ServerSettings) -> Place:
    """The PostgreSQL store that the settings name, or their SQLite file."""
    url = settings.shared_store()
    return settings.store_path() if url is None else parse_place(url)


def contents_of(settings: ServerSettings) -> FolderOf:
    """The folder in which a server with these settings keeps contents of a SQLite store, whatever file it is."""
    folder = settings.artifacts or settings.home / "artifacts"

    def folder_of(database: Path) -> LocalStorage:
        return LocalStorage(folder)

    return folder_of

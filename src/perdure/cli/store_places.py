"""Where the settings say that a store and its contents are."""

from __future__ import annotations

from perdure.artifacts.local import LocalStorage
from perdure.settings import ServerSettings
from perdure.store.copying.folders import Folders
from perdure.store.copying.places import Place, parse_place


def store_place(settings: ServerSettings) -> Place:
    """The PostgreSQL store that the settings name, or their SQLite file."""
    url = settings.shared_store()
    return settings.store_path() if url is None else parse_place(url)


def contents_of(settings: ServerSettings) -> Folders:
    """Where a server with these settings keeps the contents of its store, whatever file or database that is."""
    own = LocalStorage(settings.artifacts or settings.home / "artifacts")
    return Folders(lambda _file: own, None if settings.artifacts is None else own)

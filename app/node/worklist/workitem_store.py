"""Work items on disk: one file each, synced, so that an order that was taken is not lost."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset

from app.node.folder_sync import sync_folder
from app.node.spool import name_of
from app.node.worklist.workitem import ENDED, UpsProblem, UpsStatus, Workitem

_GLOBAL = "global-subscribers.json"


class WorkitemStore:
    """All work items of this node.

    Args:
        folder: made where it is missing; readable for this user only.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._lock = threading.RLock()
        items = [_read(path) for path in folder.glob("*.json") if path.name != _GLOBAL]
        self._items = {item.uid: item for item in items}
        subscribers = folder / _GLOBAL
        self._global = json.loads(subscribers.read_text()) if subscribers.exists() else []

    @contextmanager
    def changing(self, uid: str) -> Iterator[Workitem]:
        """A work item to be changed; what is raised inside leaves it as it was.

        Raises:
            UpsProblem: there is none of this UID.
        """
        with self._lock:
            copy = _decoded(_encoded(self.get(uid)))
            yield copy
            self._write(copy)

    def get(self, uid: str) -> Workitem:
        """A work item, not to be changed.

        Raises:
            UpsProblem: there is none of this UID.
        """
        with self._lock:
            if uid not in self._items:
                raise UpsProblem(UpsStatus.NO_SUCH_WORKITEM, "there is no such work item")
            return self._items[uid]

    def add(self, item: Workitem) -> None:
        """Keep a new work item; those who follow all follow it too.

        Raises:
            UpsProblem: there is one of this UID.
        """
        with self._lock:
            if item.uid in self._items:
                raise UpsProblem(UpsStatus.DUPLICATE_INSTANCE, "there is such a work item already")
            item.subscribers = list(self._global)
            self._write(item)

    def all(self) -> list[Workitem]:
        """Every work item, not to be changed."""
        with self._lock:
            return list(self._items.values())

    def remove(self, uid: str) -> None:
        """Forget a work item."""
        with self._lock:
            self._path(self.get(uid)).unlink(missing_ok=True)
            del self._items[uid]

    def forget(self, before: float) -> None:
        """Remove those that ended before a time (seconds since 1970, UTC)."""
        with self._lock:
            for item in self.all():
                if item.state in ENDED and item.changed < before:
                    self.remove(item.uid)

    def subscribe_to_all(self, ae_title: str) -> None:
        """Let a title follow every work item, present and future."""
        with self._lock:
            self._set_global([*(title for title in self._global if title != ae_title), ae_title])
            for item in self.all():
                if ae_title not in item.subscribers:
                    with self.changing(item.uid) as changed:
                        changed.subscribers.append(ae_title)

    def unsubscribe_from_all(self, ae_title: str, *, present_too: bool) -> None:
        """Let a title follow no future work items, and no present ones either if so asked."""
        with self._lock:
            self._set_global([title for title in self._global if title != ae_title])
            for item in self.all() if present_too else ():
                if ae_title in item.subscribers:
                    with self.changing(item.uid) as changed:
                        changed.subscribers.remove(ae_title)

    def _set_global(self, titles: list[str]) -> None:
        self._global = titles
        self._write_file(self._folder / _GLOBAL, json.dumps(titles))

    def _write(self, item: Workitem) -> None:
        item.changed = time.time()
        self._write_file(self._path(item), _encoded(item))
        self._items[item.uid] = item

    def _write_file(self, path: Path, text: str) -> None:
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(self._folder)

    def _path(self, item: Workitem) -> Path:
        return self._folder / f"{name_of(item.uid)}.json"


def _encoded(item: Workitem) -> str:
    return json.dumps(vars(item) | {"data_set": item.data_set.to_json_dict()})


def _decoded(text: str) -> Workitem:
    values = json.loads(text)
    return Workitem(**(values | {"data_set": Dataset.from_json(values["data_set"])}))


def _read(path: Path) -> Workitem:
    return _decoded(path.read_text(encoding="utf-8"))

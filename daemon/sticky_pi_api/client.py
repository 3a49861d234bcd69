"""The clients: what a program uses to put pictures into a store, and to get them back."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import Any

from sticky_pi_api.batch import Batch
from sticky_pi_api.blame import blaming_the_store
from sticky_pi_api.configuration import LocalAPIConf
from sticky_pi_api.exceptions import ConflictWarning, PutImagesError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.specifications import BaseAPISpec, LocalAPI
from sticky_pi_api.storage import make_folders
from sticky_pi_api.types import FilePath, ImageOutcome, Outcome, Row


class BaseClient(BaseAPISpec):
    """What all clients do alike, each with a folder of its own on this machine."""

    def __init__(self, local_dir: FilePath, n_threads: int = 8, *_args: Any, **_kwargs: Any) -> None:
        """Make `local_dir` unless it is there; pictures are read and decoded on at most `n_threads` threads.

        Raises StoreError where the folder can't be made.
        """
        if n_threads < 1:
            raise ValueError(f"n_threads is {n_threads}; it must be at least 1")
        self._local_dir = os.path.abspath(os.fsdecode(local_dir))
        self._n_threads = n_threads
        with blaming_the_store(self._local_dir):
            make_folders(self._local_dir)

    @property
    def local_dir(self) -> str:
        """The client's folder, an absolute path."""
        return self._local_dir

    def delete_cache(self) -> None:
        """Remove what the client remembers between calls; nothing that is stored is touched."""
        import shutil

        with blaming_the_store(self._local_dir), suppress(FileNotFoundError):
            shutil.rmtree(os.path.join(self._local_dir, "cache"))

    def put_images(
        self,
        files: Iterable[FilePath | ImageParser],
        *,
        on_outcome: Callable[[ImageOutcome], object] | None = None,
    ) -> list[Row]:
        """Store the pictures that are not held yet, and return the metadata of those stored by this call.

        Each of `files` is a path, or an ImageParser already made. One that fails doesn't keep the others from being
        stored. `on_outcome` is called with each picture's ImageOutcome, in order, as soon as it is known; what it
        raises ends the call there. Without it, a ConflictWarning names each picture whose key is held with other bytes,
        and other failures raise one PutImagesError at the end.
        """
        if isinstance(files, str | bytes | os.PathLike | ImageParser):
            raise TypeError("put_images takes a list of pictures, not one")
        outcomes: list[ImageOutcome] = []
        stored: list[Row] = []
        batch = Batch(self.get_images, self._put_if_absent, self._n_threads)
        with closing(batch.outcomes(files)) as ready:
            for outcome in ready:
                if outcome.outcome is Outcome.STORED and outcome.row is not None:
                    stored.append(outcome.row)
                elif on_outcome is None:
                    outcomes.append(outcome)
                if on_outcome is not None:
                    on_outcome(outcome)
        _report(stored, outcomes)
        return stored


class LocalClient(BaseClient, LocalAPI):
    """The client and the whole API in one process, on a folder: no server, no account.

    Use it as a context manager, or close it; threads may share it, and processes its folder.
    """

    def __init__(self, local_dir: FilePath, n_threads: int = 8, *args: Any, **kwargs: Any) -> None:
        """Open the store in `local_dir`, made if it isn't there. Raises StoreError where that can't be."""
        BaseClient.__init__(self, local_dir, n_threads)
        LocalAPI.__init__(self, LocalAPIConf(LOCAL_DIR=self.local_dir), *args, **kwargs)


def _report(stored: list[Row], others: list[ImageOutcome]) -> None:
    failures = [one for one in others if one.outcome not in (Outcome.HELD, Outcome.CONFLICT)]
    try:
        for one in others:
            if one.outcome is Outcome.CONFLICT:
                warnings.warn(str(one.error), ConflictWarning, stacklevel=3)
    finally:
        # Also where warnings are errors: the rows stored must reach the caller.
        if failures:
            raise PutImagesError(stored, failures)

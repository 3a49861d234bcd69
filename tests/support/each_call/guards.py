"""Takes a guard out of the program, as this process has loaded it, to show that the attacks miss it."""

from contextlib import contextmanager


def _together():
    """A picture's row is in the store before its files are."""
    from sticky_pi_api.local.images import ImagesDatabase

    @contextmanager
    def writing(_):
        yield

    ImagesDatabase.writing = writing


def _recover():
    """What was being sent when a run ended stays so."""
    from sticky_pi_uploader.outbox.queue import Queue

    Queue.recover = lambda _: 0


def _ask():
    """Nobody asks the server what it holds before sending."""
    from sticky_pi_api.put_images.remote import RemoteBatch

    refresh = RemoteBatch._refresh

    def refresh_and_forget(batch, pictures):
        refresh(batch, pictures)
        batch._held = {}

    RemoteBatch._refresh = refresh_and_forget


def _missed():
    """What can't be looked at on the card is no reason not to be done."""
    from sticky_pi_uploader.intake.intake import Intake

    Intake.missed = False


def _put_back():
    """What was to be removed, and wasn't, keeps the name that it got for that."""
    from sticky_pi_uploader.image_dir import pending_removal as leaving
    from sticky_pi_uploader.retention import remover as removal

    leaving.restore = removal.restore = lambda _folder, _name: None


GUARDS = {"together": _together, "recover": _recover, "ask": _ask, "missed": _missed, "put-back": _put_back}
"""What takes out each"""

"""What tells the two published generations of the server apart."""

import time
from dataclasses import dataclass

FILE_NAME_FORM, ISO_FORM = "%Y-%m-%d_%H-%M-%S", "%Y-%m-%dT%H:%M:%SZ"
_COMMON = (
    *("device", "md5", "width", "height", "lat", "lng", "alt", "temp", "hum", "device_version"),
    *("datetime_created", "api_version"),
)


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation; its server's rows have `columns`, besides `id`, `datetime` and `url`."""

    columns: tuple[str, ...]
    datetime_forms: tuple[str, ...]
    """of requests; the last one is also that of answers"""
    checks_md5: bool
    takes_empty_lists: bool
    takes_2022_pictures: bool
    takes_lists_of_patterns: bool
    """when asked for users; one dict of patterns otherwise"""

    def read_datetime(self, text):
        """Return a request's datetime as the file names have it.

        Raises ValueError.
        """
        for form in self.datetime_forms:
            try:
                return time.strftime(FILE_NAME_FORM, time.strptime(text, form))
            except ValueError:
                continue
        raise ValueError(text)

    def write_datetime(self, text):
        """Return a datetime of a file name as this generation answers it."""
        return time.strftime(self.datetime_forms[-1], time.strptime(text, FILE_NAME_FORM))


GENERATIONS = {
    2021: Generation(
        columns=(
            *(*_COMMON, "no_flash_shutter_speed", "no_flash_exposure_time", "no_flash_bv", "no_flash_iso"),
            "api_user",
        ),
        datetime_forms=(FILE_NAME_FORM,),
        checks_md5=False,
        takes_empty_lists=True,
        takes_2022_pictures=False,
        takes_lists_of_patterns=False,
    ),
    2023: Generation(
        columns=(*_COMMON, "lum", "bat", "but", "api_user_id"),
        datetime_forms=(FILE_NAME_FORM, ISO_FORM),
        checks_md5=True,
        takes_empty_lists=False,
        takes_2022_pictures=True,
        takes_lists_of_patterns=True,
    ),
}

"""Rows: made of a picture when it is stored, and written as a generation's server answers them."""

import time

from .generations import FILE_NAME_FORM
from .store import Row

API_VERSION = "reference"


def new_row(key, md5, fields, account):
    """Return the row of a picture that an account uploads now; it gets its id from the database."""
    about_upload = {
        "datetime_created": time.strftime(FILE_NAME_FORM, time.gmtime()),
        "api_version": API_VERSION,
        "api_user": account.name,
        "api_user_id": account.number,
    }
    return Row(None, key, md5, {**fields, **about_upload})


def written(row, generation, url=""):
    """Return a row as JSON has it."""
    values = {**row.fields, "device": row.key.device, "md5": row.md5}
    values["datetime_created"] = generation.write_datetime(values["datetime_created"])
    return {
        "id": row.id,
        "datetime": generation.write_datetime(row.key.datetime),
        "url": url,
        **{column: values.get(column) for column in generation.columns},
    }

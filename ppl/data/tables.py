"""Tables that a person keeps beside the images: CSV files with a line of column names."""

import csv
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ppl.core.cells import as_text
from ppl.core.errors import InputError
from ppl.data.adapters.base import without_suffix

_LONGEST_HEAD = 10_000


def known_as(name: str, ids: Collection[str]) -> str | None:
    """The id that a line of a table means; None where it is none of `ids`.

    Args:
        name: an id, or the path of an image below images/ or beside it, with or without suffix; as
            a person writes it, or as `as_cell` does.
    """
    for said in (name.replace("\\", "/").removeprefix("./"), as_text(name)):
        path = unicodedata.normalize("NFC", said)
        below = path.removeprefix("images/")
        # an id may itself end like a file's name
        for id in (path, without_suffix(path), below, without_suffix(below)):
            if id in ids:
                return id
    return None


def read_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each row of a CSV file: where it stands, for messages, and what its `columns` hold, stripped.

    Other columns and empty rows are left alone. Semicolons separate a table whose first line holds
    some and no comma: spreadsheets of some countries write them.

    Raises:
        InputError: no such columns, no UTF-8 text, or no CSV.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            head = stream.readline(_LONGEST_HEAD)
            stream.seek(0)
            separator = ";" if ";" in head and "," not in head else ","
            reader = csv.DictReader(stream, delimiter=separator, skipinitialspace=True, strict=True)
            if not set(columns) <= set(reader.fieldnames or ()):
                raise InputError(
                    f"{file} has the columns {', '.join(reader.fieldnames or ['(none)'])}: its "
                    f"first line has to be {','.join(columns)}"
                )
            for row in reader:
                values = [(row[column] or "").strip() for column in columns]
                if any(values):
                    yield f"{file}, line {reader.line_num}", values
    except UnicodeDecodeError:
        raise InputError(f"{file} is no UTF-8 text: save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{file} is no CSV file ({error}): look for a stray quote") from None

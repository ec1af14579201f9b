"""Records from a JSON file, checked: what is wrong with one is said in a line."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppl.core.errors import InputError
from ppl.images.pictures import MOST_PIXELS

Side = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
"""Height or width of an image, in pixels."""

T = TypeVar("T", bound="Record")


class Record(BaseModel):
    """Base of all: fields that it does not name are left alone, since tools add their own."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def record(kind: type[T], content: Any, what: str) -> T:
    """A record of this kind.

    Args:
        what: how messages call it.

    Raises:
        InputError: a field is missing or something else than expected; the first of them.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        said = f"{place}: {first['msg']}" if place else first["msg"]
        raise InputError(f"{what} is not as expected: {said[:200]}") from None

"""Which iteration's model a training keeps."""

from typing import Annotated, Literal

from pydantic import Field

from ppl.core.settings import Settings


class SelectionSettings(Settings):
    """Section `selection`: which iteration's model a training keeps."""

    by: Literal["validation", "last"]
    every: Annotated[int, Field(ge=1, le=10_000_000)]
    """Iterations between two validations."""

    def prefers(self, score: float | None, kept: float | None, *, last: bool) -> bool:
        """Whether a model takes the place of the one that is kept.

        Args:
            score: its validation score; None where it was not validated.
            kept: the score of the one that is kept; None where there is none.
            last: it is that of the last iteration.
        """
        if self.by == "last":
            return last
        # of equal scores the later one is kept: it has seen more
        return score is not None and not (kept is not None and score < kept)

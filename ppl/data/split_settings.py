"""The section `split` of params.yaml."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ppl.core.settings import PathSetting, Settings
from ppl.data.split_lists import DEFAULT_LISTS


class SplitSettings(Settings):
    """Section `split` of params.yaml."""

    by: Literal["auto", "group", "image", "lists"]
    """What stays together: all photos of a part, or each image alone; or what the lists say.
    auto: lists where there are some, else group where the data set has groups, else image; val.txt
    alone and groups: group, with the listed parts in test."""
    labeled_fraction: Fraction
    """Share of the annotated images outside test that keep their masks: "1/8" or 0.125."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the annotated images to test on, where neither a list nor the data set says: each
    is drawn by itself, so the share comes out near it."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the labeled images taken out to validate on."""
    folds: Annotated[int, Field(ge=0, le=100)]
    """Draw each annotated image into one of so many test sets; 0: one of test_fraction."""
    fold: Annotated[int, Field(ge=1)]
    """Which of them is tested on, from 1."""
    use_published_test: bool
    """Test on the published test part where the data set has one."""
    lists: PathSetting
    """Folder with labeled.txt, unlabeled.txt and val.txt; data/lists may hold none."""

    @property
    def lists_optional(self) -> bool:
        """Only the default folder may hold no lists: whoever names another wants them used."""
        return Path(self.lists) == DEFAULT_LISTS

    @field_validator("labeled_fraction", mode="before")
    @classmethod
    def _exact(cls, value: Any) -> Fraction:
        # 1/8 and 0.125 are the same split; a float's own fraction would not be that of its text
        try:
            if isinstance(value, bool):
                raise TypeError
            fraction = Fraction(str(value).replace(" ", "")).limit_denominator(1_000_000)
        except (TypeError, ValueError, ZeroDivisionError):
            raise ValueError("expected a fraction such as 1/8 or a number such as 0.125") from None
        if not 0 < fraction <= 1:
            raise ValueError("should be above 0 and at most 1")
        return fraction

    @model_validator(mode="after")
    def _fold_exists(self) -> "SplitSettings":
        if self.folds == 1:
            raise ValueError("folds: 1 fold leaves nothing to train on; write 0 or at least 2")
        if self.fold > max(self.folds, 1):
            raise ValueError(f"fold {self.fold} is none of the {self.folds} folds")
        return self

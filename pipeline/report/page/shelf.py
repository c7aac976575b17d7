"""The pictures of a page: each is in it once, and together they have a limit."""

import base64
from collections.abc import Iterable
from typing import Any

from pipeline.report.page.words import in_figures, is_small
from pipeline.report.shown import Comparison, ImageFacts, Picture

_ENLARGED = 64  # pixels: an image up to this side has nothing to be seen at its own size


class Shelf:
    """The pictures and the images of a page, by numbers.

    A picture stands where it is shown first, in an element of HTML, so that a reader without scripts sees it. Scripts
    take it from there; those that no element shows are in ``rest``.

    Args:
      room: most bytes that all pictures take.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._numbers = dict[bytes, int]()
        self._pictures = list[Picture]()
        self._shown = set[int]()
        self._images = list[ImageFacts]()
        self._image_numbers = dict[int, int]()
        self.missing = 0

    def take(self, pictures: Iterable[Picture | None]) -> None:
        """Put pictures on the shelf, as long as there is room. What is taken first is surest to be on the page."""
        for picture in pictures:
            if picture is None or picture.data in self._numbers:
                continue
            size = -(-len(picture.data) // 3) * 4 + 64
            if size > self._room:
                self.missing += 1
                continue
            self._room -= size
            self._numbers[picture.data] = len(self._pictures)
            self._pictures.append(picture)

    @property
    def brighter(self) -> bool:
        """Whether a picture is brighter than its record's image."""
        return any(picture.gain > 1 for picture in self._pictures)

    def has(self, picture: Picture | None) -> bool:
        """Whether a picture is on the page."""
        return picture is not None and picture.data in self._numbers

    def number(self, picture: Picture) -> int:
        """The number of a picture."""
        return self._numbers[picture.data]

    def first(self, picture: Picture) -> bool:
        """Whether this is the first time that a picture is shown."""
        number = self.number(picture)
        new = number not in self._shown
        self._shown.add(number)
        return new

    def uri(self, picture: Picture) -> str:
        """A picture as a URI that holds it."""
        kind = "jpeg" if picture.media_type == "image/jpeg" else "png"
        return f"data:image/{kind};base64,{base64.b64encode(picture.data).decode()}"

    def image(self, image: ImageFacts) -> int:
        """The number of an image. An image that is shown twice has two, unless it is one object."""
        number = self._image_numbers.setdefault(id(image), len(self._images))
        if number == len(self._images):
            self._images.append(image)
        return number

    def images(self) -> list[dict[str, Any]]:
        """All that the viewer shows of the images, by their numbers."""
        return [self._of(image) for image in self._images]

    def rest(self) -> dict[str, str]:
        """The pictures that no element has shown, by their numbers."""
        return {str(n): self.uri(picture) for n, picture in enumerate(self._pictures) if n not in self._shown}

    def reference(self, picture: Picture | None) -> dict[str, Any] | None:
        """A picture as scripts take it; None if it is not on the page."""
        if picture is None or picture.data not in self._numbers:
            return None
        return {"id": self.number(picture), "small": is_small(picture)}

    def _of(self, image: ImageFacts) -> dict[str, Any]:
        error = [] if image.error is None else [["mse", in_figures(image.error)]]
        gain = 1 if image.picture is None else image.picture.gain
        shown = [] if gain == 1 else [["shown", f"{gain} times as bright"]]
        return {
            "key": image.record.key,
            "shard": image.record.shard,
            "index": image.record.index,
            "why": image.why,
            "missing": image.missing,
            "values": error + [[fact.name, fact.value] for fact in image.values] + shown,
            "picture": self.reference(image.picture),
            "enlarges": image.picture is not None and _enlarges(image.picture),
            "comparison": self._comparison(image.comparison),
        }

    def _comparison(self, comparison: Comparison | None) -> dict[str, Any] | None:
        if comparison is None or not (self.has(comparison.before) and self.has(comparison.after)):
            return None
        crop = [self.reference(side) for side in (comparison.crop_before, comparison.crop_after)]
        return {
            "whole": [self.reference(comparison.before), self.reference(comparison.after)],
            "crop": None if None in crop else crop,
            "residual": self.reference(comparison.residual),
            "gain": in_figures(comparison.gain),
            "enlarges": None not in crop or _enlarges(comparison.after),
        }


def pictures_of(image: ImageFacts) -> list[Picture | None]:
    """The pictures that the viewer shows of an image, besides the one of its tile."""
    found = image.comparison
    if found is None:
        return []
    return [found.before, found.after, found.residual, found.crop_before, found.crop_after]


def _enlarges(picture: Picture) -> bool:
    return max(picture.width, picture.height) > _ENLARGED

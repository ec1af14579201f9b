"""Training images decoded: each once, and kept in memory or else on the disk.

All images of a training's half are kept in one of these ways. What lies on the disk, the system
holds in the memory that is free, and gives that up where something else needs it.
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from torch.utils.data import get_worker_info

from ppl.core import processes
from ppl.core.progress import bar
from ppl.images.room import in_room_for
from ppl.training.disk import Disk
from ppl.training.images import Opened, Pair, TrainingImages
from ppl.training.machine import GIB, cache_bytes
from ppl.training.slots import Slots

DECODERS = 8
"""Threads that decode images; they change the time, never the order."""

Look = Callable[[int, Opened], None]
"""Takes what a training needs from the image of an index; many threads call it."""


@dataclass
class Kept:
    """Training images, and where they are to be had decoded."""

    data: TrainingImages
    pairs: list[Pair] | None
    """All images and masks, where memory holds them."""
    slots: Slots | None = None
    """On the disk, else; None where that does not take them either."""

    @property
    def bytes(self) -> int:
        """Memory that they take."""
        return sum(tensor.nbytes for pair in self.pairs or () for tensor in pair)

    def read(self, index: int) -> Pair:
        """An image and its mask, from memory, or the disk; else decoded, and left on the disk.

        Raises:
            InputError: as `TrainingImages.open`.
        """
        if self.pairs is not None:
            return self.pairs[index]
        try:
            found = self.slots.pair(index) if self.slots else None
        except OSError as error:
            self._without_disk(error)
            found = None
        if found is None:
            found = self.data.read(index)
            self.put(index, found)
        return found

    def put(self, index: int, pair: Pair) -> None:
        """Leave it on the disk, if that has room."""
        slots = self.slots
        if slots is None:
            return
        try:
            slots.put(index, pair)
        except OSError as error:
            # what is there can be read to the end; the other readers learn of it by the room
            told = slots.room == 0 or isinstance(error, FileNotFoundError)
            slots.room = 0
            if not told:
                _say(self.data, f"the disk takes no more of them ({_reason(error)}): {THESE}")

    def _without_disk(self, error: OSError) -> None:
        self.slots = None
        worker = get_worker_info()
        # at the training's end the file goes before those who read ahead
        if isinstance(error, FileNotFoundError) or (worker is not None and worker.id > 0):
            return
        _say(self.data, f"the disk cannot keep them ({_reason(error)}): {ANEW}")


ANEW = "images are decoded anew for every crop"
THESE = "those that are not there are decoded anew for every crop"
"""What that means."""


def keep(
    data: TrainingImages,
    *,
    memory: int | None = None,
    disk: Disk | None = None,
    look: Look | None = None,
) -> Kept:
    """Decode each image once: to keep all of them, and to look at all of them where asked.

    Images that nobody looks at and that memory does not hold are not decoded now: whoever needs one
    leaves it on the disk.

    Args:
        memory: bytes that they may take in memory; unless given, what the machine allows.
        disk: for those that take more; unless given, each of these is decoded whenever it is read.

    Raises:
        InputError: as `TrainingImages.open`; the environment says what is no number.
    """
    if not len(data):
        return Kept(data, [])
    keeping = _Keeping(data, cache_bytes() if memory is None else memory, disk)
    if look is not None or keeping.in_memory:
        keeping.decode(look)
    return keeping.kept()


class _Keeping:
    """Images on their way to where they are kept; many threads bring them."""

    def __init__(self, data: TrainingImages, memory: int, disk: Disk | None) -> None:
        self._data = data
        self._memory = memory
        self._disk = disk
        self._lock = Lock()
        self._pairs: dict[int, Pair] = {}
        self._taken = 0
        self._kept: Kept | None = None
        """Once memory does not hold them."""
        # a grey image and its mask; colour shows when it is read
        grey = sum(2 * height * width for (height, width), _ in data.sizes())
        if grey > memory:
            self._kept = self._beyond_memory()

    @property
    def in_memory(self) -> bool:
        """Whether they are all in memory, as far as they have come."""
        return self._kept is None

    def decode(self, look: Look | None) -> None:
        """All of them; without a `look` until memory does not hold more."""
        what = ", ".join(dict.fromkeys(part.what for part in self._data.parts))

        def take(index: int) -> None:
            entry = self._data.find(index)[1]
            in_room_for(entry.height * entry.width, lambda: self._take(index, look))

        with ThreadPoolExecutor(DECODERS) as pool:
            each = pool.map(take, range(len(self._data)))
            for _ in bar(each, total=len(self._data), desc=f"read {what}", unit="image"):
                if look is None and not self.in_memory:
                    pool.shutdown(wait=False, cancel_futures=True)
                    return
        if self._kept is not None and self._kept.slots is not None and self._disk is not None:
            self._disk.take_back(self._kept.slots)

    def _take(self, index: int, look: Look | None) -> None:
        # what was waiting when memory was full
        if look is None and not self.in_memory:
            return
        opened = self._data.open(index)
        if look is not None:
            look(index, opened)
        if self._kept is None or self._kept.slots is not None:
            self._put(index, opened.kept())

    def _put(self, index: int, pair: Pair) -> None:
        with self._lock:
            if self._kept is None:
                self._pairs[index] = pair
                self._taken += sum(tensor.nbytes for tensor in pair)
                if self._taken > self._memory:
                    self._kept = self._beyond_memory()
            else:
                self._kept.put(index, pair)

    def _beyond_memory(self) -> Kept:
        """Where they are from now on, those included that were in memory."""
        kept = Kept(self._data, None, _slots(self._data, self._disk))
        while self._pairs:
            kept.put(*self._pairs.popitem())
        return kept

    def kept(self) -> Kept:
        """All of them."""
        if self._kept is not None:
            return self._kept
        return Kept(self._data, [self._pairs[index] for index in range(len(self._data))])


def _slots(data: TrainingImages, disk: Disk | None) -> Slots | None:
    """On the disk, if it takes them; the user is told."""
    try:
        slots = disk.slots(name_of(data), [kept for kept, _ in data.sizes()]) if disk else None
    except OSError as error:
        _say(data, f"{disk and disk.folder.parent} cannot keep them ({_reason(error)}): {ANEW}")
        return None
    if disk is not None and slots is not None:
        _say(data, f"they are kept on the disk, up to {slots.room / GIB:.3g} GiB in {disk.folder}")
    return slots


def name_of(data: TrainingImages) -> str:
    """Another name for other images, or the same at other sizes."""
    ids = [(part.what, [entry.id for entry in part.images.entries]) for part in data.parts]
    facts = json.dumps([ids, data.sizes()])
    return hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()


def _say(data: TrainingImages, what: str) -> None:
    if processes.is_first():
        names = ", ".join(dict.fromkeys(part.what for part in data.parts))
        print(f"images ({names}) take more memory, decoded, than PPL_CACHE_GIB gives: {what}")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)

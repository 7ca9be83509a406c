"""A child's way to its supervisor, where something on it fails."""

from __future__ import annotations

import os
import threading

import structlog

from hashmatch.index.refresher import Served
from hashmatch.index.shared_memory import Memory
from hashmatch.service.channel import Channel, ImageSent, Role, Task
from hashmatch.service.config import Config
from hashmatch.service.link import Link


class Full:
    """Where no image can be mapped."""

    def load(self, _: object) -> Served:
        raise OSError(12, "Cannot allocate memory")


def test_a_child_that_cannot_take_an_image_says_that_it_is_lost_and_waits_for_none():
    ours, theirs = Channel.pair()
    link = Link(theirs, Task(role=Role(1), config=Config(), store_url="", has_image=True))
    link.take_images(Full(), lambda _: None)
    lost = threading.Event()
    with structlog.testing.capture_logs() as lines:
        link.listen(lost.set, lambda: None)
        descriptor = os.memfd_create("an image")
        os.ftruncate(descriptor, 4_096)
        ours.send(ImageSent(()), Memory(descriptor))
        assert lost.wait(30)
    link.wait_for_image()
    for channel in (ours, theirs):
        channel.close()
    assert [(line["event"], line["why"]) for line in lines] == [("link-failed", "OSError")]

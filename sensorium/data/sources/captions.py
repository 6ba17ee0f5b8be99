"""Captioned pictures in tar shards, as webdataset, img2dataset and most caption corpora write them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sensorium.data.sources.tar import TarShards


class Captions(TarShards, name="captions"):
    """Shards of `key.jpg` with `key.txt`, or with `key.json` that has a `caption`: `tar`, for running text."""

    class Config(TarShards.Config):
        style: Literal["caption", "chat"] = Field(
            default="caption", description="running text after the picture, or a conversation"
        )

"""Messages: the form of ShareGPT, of OpenAI's chat format, and of what TRL, LLaMA-Factory and ms-swift train on."""

from __future__ import annotations

from pydantic import Field

from sensorium.data.conversation import read_turns, segments
from sensorium.data.record_table import Record
from sensorium.data.records import look_up
from sensorium.data.references import KINDS, Kind, Medium, media
from sensorium.data.table_source import TableConfig, TableSource
from sensorium.sample import Sample


class Messages(TableSource, name="messages"):
    """Records {messages, images, videos, audios}. A message has role and content (or from and value); its content is
    text with marks `<image>`, `<video>` and `<audio>`, or a list of parts {type: text | image | video | audio}. A mark,
    or a part without a value, takes the next medium of its column; none may be left over or missing."""

    class Config(TableConfig):
        turns_field: str = Field(default="messages", description="field with the messages")
        images_field: str = Field(default="images", description="field with a picture or a list of them")
        videos_field: str = Field(default="videos", description="field with a video or a list of them")
        audios_field: str = Field(default="audios", description="field with a recording or a list of them")

    config: Config

    def sample(self, record: Record, id: str) -> Sample:
        config = self.config
        fields = (config.images_field, config.videos_field, config.audios_field)
        columns: dict[Kind, list[Medium]] = {
            kind: media(look_up(record.fields, field), self.media, field, record.name)
            for kind, field in zip(KINDS, fields, strict=True)
        }
        turns = read_turns(record, config.turns_field, self.media)
        return Sample(segments(turns, columns, record.name), id=id, source=config.title)

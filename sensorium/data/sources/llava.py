"""The form of LLaVA's instruction data (arXiv 2304.08485): pictures and a conversation with `<image>` marks."""

from __future__ import annotations

from pydantic import Field

from sensorium.data.conversation import read_turns, segments
from sensorium.data.record_table import Record
from sensorium.data.records import look_up
from sensorium.data.references import media
from sensorium.data.table_source import TableConfig, TableSource
from sensorium.sample import Sample


class LLaVA(TableSource, name="llava"):
    """Records {id, image, conversations}: a path or a list of them, and turns {from: human | gpt, value}. A mark
    `<image>` stands where a picture belongs, and there are as many as pictures."""

    class Config(TableConfig):
        file: str = Field(default="*.json", min_length=1, description=TableConfig.model_fields["file"].description)
        image_field: str = Field(default="image", description="field with a picture's path, or a list of them")
        turns_field: str = Field(default="conversations", description="field with the turns")
        together: tuple[str, ...] = Field(
            default=("id", "image"), description=TableConfig.model_fields["together"].description
        )

    config: Config

    def sample(self, record: Record, id: str) -> Sample:
        field = self.config.image_field
        pictures = media(look_up(record.fields, field), self.media, field, record.name)
        turns = read_turns(record, self.config.turns_field, self.media, ("image",))
        return Sample(segments(turns, {"image": pictures}, record.name), id=id, source=self.config.title)

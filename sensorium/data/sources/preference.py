"""Preferences: a prompt with an answer that was chosen and one that was rejected, in the forms that TRL reads."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sensorium.data.conversation import Turn, marked, opened_by, read_turns, segments
from sensorium.data.record_table import Record
from sensorium.data.records import look_up
from sensorium.data.references import media
from sensorium.data.table_source import TableConfig, TableSource
from sensorium.errors import DataError
from sensorium.sample import Sample


class Preference(TableSource, name="preference"):
    """Records {prompt, images, chosen, rejected}, each text or messages. The sample is the prompt with the chosen
    answer, which is supervised; `meta["rejected"]` is the text of the other. Where nothing says where pictures stand,
    they open the prompt. Without a prompt, it is what both conversations begin with."""

    class Config(TableConfig):
        prompt_field: str = Field(default="prompt", description="field with the prompt: text or messages")
        images_field: str = Field(default="images", description="field with a picture or a list of them")
        chosen_field: str = Field(default="chosen", description="field with the better answer")
        rejected_field: str = Field(default="rejected", description="field with the worse answer")

    config: Config

    def sample(self, record: Record, id: str) -> Sample:
        config, name = self.config, record.name
        prompt, (chosen, rejected) = self._conversations(record)
        answer, other = _answer(chosen, config.chosen_field, name), _answer(rejected, config.rejected_field, name)
        if answer == other:
            raise DataError(f"{name}: chosen and rejected are both {answer!r:.60}; they must differ; leave it out")
        pictures = media(look_up(record.fields, config.images_field), self.media, config.images_field, name)
        turns = [*opened_by(prompt, len(pictures)), Turn("assistant", (answer,))]
        placed = segments(turns, {"image": pictures}, name)
        return Sample(placed, id=id, source=config.title, meta={"rejected": other})

    def _conversations(self, record: Record) -> tuple[list[Turn], list[list[Turn]]]:
        """The prompt, and the turns that follow it in each answer."""
        config = self.config
        answers = [self._turns(record, field, "assistant") for field in (config.chosen_field, config.rejected_field)]
        if look_up(record.fields, config.prompt_field) is not None:
            return self._turns(record, config.prompt_field, "user"), answers
        shared = 0
        while shared < min(map(len, answers)) - 1 and answers[0][shared] == answers[1][shared]:
            shared += 1
        if not shared:
            raise DataError(f"{record.name}: no '{config.prompt_field}', and the answers begin differently; give one")
        return answers[0][:shared], [turns[shared:] for turns in answers]

    def _turns(self, record: Record, field: str, role: Any) -> list[Turn]:
        value = look_up(record.fields, field)
        if isinstance(value, str):
            return [Turn(role, marked(value, ("image",)) if role == "user" else (value,))]
        return read_turns(record, field, self.media, ("image",))


def _answer(turns: list[Turn], field: str, name: str) -> str:
    """The text of an answer that is one turn of the assistant."""
    if len(turns) == 1 and turns[0].role == "assistant" and len(turns[0].pieces) == 1:
        (said,) = turns[0].pieces
        if isinstance(said, str) and said:
            return said
    raise DataError(
        f"{name}: '{field}' is not one answer in text after the prompt; found {len(turns)} turns; correct it"
    )

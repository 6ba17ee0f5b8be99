"""Where things are, in words: against what xGen-MM's paper shows (arXiv 2408.08872, figures 3 and 4), and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy import png

import sensorium as sm
from sensorium.data.region_words import PLACES, grounded, ocr, place, within, without_filler
from sensorium.data.source import Source
from sensorium.errors import DataError
from sensorium.sample import Image, Region, Sample, Text

SHOP = Region((0.192, 0.037, 0.817, 0.203), "MACK SHOP")
LEVELS = (
    '"MACK SHOP"',
    '"MACK SHOP" located above the center',
    '"MACK SHOP" located at 2/17 of the image from top to bottom and 1/2 of the image from left to right',
    '"MACK SHOP" approximately starts at [0.2, 0.0] and extends up to [0.8, 0.2]',
    '"MACK SHOP" starts at [0.192, 0.037] and extends up to [0.817, 0.203]',
    "<ocr>MACK SHOP</ocr><bbox>[0.192, 0.037][0.817, 0.203]</bbox>",
)
"""As published, but for the quotation marks around the last."""
PLAYER = Region((0.015, 0.005, 0.845, 0.993), "football player")
HELMET = Region((0.287, 0.002, 0.523, 0.449), "helmet")
SAYS = "This image showcases a football player in action. The helmet has a face mask."


class Written(Source, name="written"):
    """One sample: a caption of a picture with regions."""

    class Config(Source.Config):
        regions: tuple[tuple[float, float, float, float, str], ...] = ()
        says: str = "nothing"

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        regions = tuple(Region(tuple(found[:4]), found[4]) for found in self.config.regions)
        picture = Image(png("red", (16, 16)), role="document", regions=regions)
        said = Text(self.config.says, role="document", supervise=True)
        return Sample((picture, said), id="1", source="written")


def written(says: str, *regions: Region) -> dict[str, Any]:
    return {"type": "written", "says": says, "regions": [[*region.box, region.text] for region in regions]}


def read(**config: Any) -> Sample:
    return Source.Config.from_dict(config).build()[0]


def told(sample: Sample) -> list[str]:
    return [f"{s.role} {s.text}{' *' * s.supervise}" for s in sample.segments if isinstance(s, Text)]


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5, 6])
def test_six_levels_as_published(level: Any) -> None:
    assert ocr(SHOP, level) == LEVELS[level - 1]


def test_grounding_as_published() -> None:
    forms = {
        "place": "football player (in the center)",
        "box": "football player (<bbox>0.015,0.005,0.845,0.993</bbox>)",
        "extent": "football player (starts at (0.015,0.005) and extends up to (0.845,0.993))",
        "fine": "<object>football player</object><bbox>[0.015, 0.005][0.845, 0.993]</bbox>",
    }
    for form, expected in forms.items():
        assert grounded(PLAYER.text, PLAYER, form) == expected  # pyright: ignore[reportArgumentType]
    assert grounded("helmet", HELMET, "place") == "helmet (above the center)"


def test_places_are_thirds_and_boxes_end_with_the_picture() -> None:
    for row in range(3):
        for column in range(3):
            x, y = (column + 0.5) / 3, (row + 0.5) / 3
            assert place((x - 0.1, y - 0.1, x + 0.1, y + 0.1)) == PLACES[row][column]
    assert place((0.9, 0.9, 1.0, 1.0)) == "at the bottom right corner"
    beyond = Region((-0.2, 0.5, 0.4, 1.25), "x")
    assert ocr(beyond, 5) == '"x" starts at [0.000, 0.500] and extends up to [0.400, 1.000]'
    assert (
        ocr(beyond, 3) == '"x" located at 3/4 of the image from top to bottom and 1/5 of the image from left to right'
    )


def test_mentions_are_found_once_whole_and_the_longest_first() -> None:
    cup, tea, other = (Region((0.0, 0.0, 0.1, 0.1), text) for text in ("cup", "tea cup", "cupboard"))

    def write(said: str, region: Region) -> str:
        return f"[{said}={region.text}]"

    assert within("A Tea cup, a cup.", (cup, tea, other), write) == "A [Tea cup=tea cup], a [cup=cup]."
    assert within("cups and a cup", (cup, cup), write) == "cups and a [cup=cup]"
    assert within("a (cup", (Region((0.0, 0.0, 0.1, 0.1), "(cup"),), write) == "a [(cup=(cup]"


def test_filler_goes_and_what_is_quoted_stays() -> None:
    phrases = ("the text", "the image contains", "the image contains the text")
    said = 'The image contains the text "the text", THE TEXT "A" located above; the texts <ocr>the text</ocr>'
    assert without_filler(said, phrases) == '"the text", "A" located above; the texts <ocr>the text</ocr>'
    assert without_filler("plain", phrases) == "plain"
    sample = read(type="without-filler", source=written('the text "STOP"'))
    assert told(sample) == ['document "STOP" *']
    with pytest.raises(DataError, match=r"written/1: says nothing but 'The text '"):
        read(type="without-filler", source=written("The text "))


# --- as sources ---


def test_texts_alone_are_running_text_or_an_answer() -> None:
    source = written("a shop", SHOP, Region((0.0, 0.9, 0.1, 1.0), "NY"))
    assert told(read(type="ocr-text", source=source)) == ['document "MACK SHOP", "NY" *']
    sample = read(type="ocr-text", source=source, level=2, question="What is written, and where?")
    assert told(sample) == [
        "user What is written, and where?",
        f'assistant {LEVELS[1]}, "NY" located at the bottom left corner *',
    ]
    assert sample.images[0].role == "user"
    assert sample.images[0].regions[0].text == "MACK SHOP", "objectives that read regions still can"


def test_captions_are_kept_before_or_given_places() -> None:
    source = written("The MACK SHOP has closed.", SHOP)
    assert told(read(type="ocr-text", source=source, caption="before", level=1)) == [
        'document The MACK SHOP has closed. "MACK SHOP" *'
    ]
    assert told(read(type="ocr-text", source=source, caption="within", level=2)) == [
        "document The MACK SHOP (located above the center) has closed. *"
    ]
    assert told(read(type="ocr-text", source=source, caption="within", level=6)) == [
        f"document The {LEVELS[5]} has closed. *"
    ]
    assert told(read(type="grounded-text", source=written(SAYS, HELMET, PLAYER), caption="within")) == [
        "document This image showcases a football player (in the center) in action. "
        "The helmet (above the center) has a face mask. *"
    ]
    assert told(read(type="grounded-text", source=written(SAYS, HELMET))) == [
        "document The image contains helmet (above the center) *"
    ]
    assert told(read(type="grounded-text", source=written(SAYS), caption="within")) == [f"document {SAYS} *"]


def test_without_regions_there_is_nothing_to_say() -> None:
    with pytest.raises(DataError, match="written/1: nothing is known of regions"):
        read(type="ocr-text", source=written("a shop"))
    with pytest.raises(DataError, match="has 0 pictures; ocr-text reads one"):
        read(type="ocr-text", source={"type": "toy-text"})


class ToyText(Source, name="toy-text"):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return sm.chat([], [("say red", "red")], id="1", source="toy-text")


def test_factorworld_s_writing_is_read_apart_from_its_objects() -> None:
    world = {"type": "factorworld", "style": "short", "writing": 1.0, "scenes": 40}
    for index in range(40):
        texts = Source.Config.from_dict({"type": "ocr-text", "source": {**world, "regions": "writing"}}).build()
        objects = {"type": "grounded-text", "source": {**world, "regions": "objects"}, "caption": "within"}
        sample, found = texts[index], Source.Config.from_dict(objects).build()[index]
        scene: Any = sample.meta["scene"]
        assert told(sample) == [f'document "{scene.writing.text}" *']
        *_, caption = told(found)
        assert caption.count("(") == len(scene.objects), "each object that the caption names has its place"


def test_jsonl_reads_regions_in_parts_pixels_and_corners(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("red", (32, 16)))
    corners = [[8, 4], [24, 3], [25, 12], [9, 12]]
    lines = [
        {"id": 1, "image": "a.png", "caption": "a", "words": [{"box": corners, "text": "NY", "score": 0.9}]},
        {"id": 2, "image": "a.png", "caption": "b", "words": [{"box": [8, 4, 16, 12], "text": 7}]},
        {"id": 3, "image": "a.png", "caption": "c"},
        {"id": 4, "image": "a.png", "caption": "d", "words": [{"box": [8, 4], "text": "x"}]},
        {"id": 5, "image": "a.png", "caption": "e", "words": [{"box": [0, 0, 99, 99], "text": "x"}]},
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config: dict[str, Any] = {"type": "jsonl", "folder": str(tmp_path), "regions_field": "words", "pixels": True}
    source = Source.Config.from_dict(config).build()
    assert source[0].images[0].regions == (Region((0.25, 3 / 16, 25 / 32, 0.75), "NY"),)
    assert source[1].images[0].regions == (Region((0.25, 0.25, 0.5, 0.75), "7"),)
    assert source[2].images[0].regions == ()
    for index in (3, 4):
        with pytest.raises(DataError, match=r"line \d: field 'words' is .*; expected a list of {box, text}"):
            source[index]
    parts = Source.Config.from_dict({**config, "pixels": False}).build()
    with pytest.raises(DataError, match="divide pixels by the picture's size"):
        parts[1]


def test_the_page_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    section = page.partition("### Places in words")[2]
    recipe = yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])
    (tmp_path / "a.png").write_bytes(png("red", (32, 16)))
    line = {"image": "a.png", "caption": "a", "words": [{"box": [0, 0, 8, 5], "text": "STOP"}]}
    (tmp_path / "data.jsonl").write_text(json.dumps(line))
    recipe["source"]["folder"] = str(tmp_path)
    assert told(read(**recipe)) == ['document "STOP" located at the top left corner *']
    forms = [grounded(PLAYER.text, PLAYER, form) for form in ("box", "extent", "place", "fine")]
    assert all(f"| `{text}` |" in page for text in (*LEVELS, *forms))

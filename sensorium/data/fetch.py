"""How to get data that may not be bundled."""

from __future__ import annotations

STAMPS_LINE = (
    '{"id": "animals-birds-crow", "image": "images/animals-birds-crow.jpg", "category": "animals/birds", '
    '"captions": {"en": "A crow."}}'
)


def fetch_stamps_help() -> str:
    """What `sensorium data fetch-stamps` prints: where the stamps come from, how to unpack and arrange them."""
    return f"""\
The recipe `stamps` reads pictures with captions from a folder that you provide:

  FOLDER/stamps/stamps.jsonl    one record a line
  FOLDER/stamps/images/...      the pictures that the records name
  FOLDER/emoji/*.tar            key.png + key.json pairs, which the recipe reads too

The stamps are those of Tux Paint, in the Debian package tuxpaint-stamps-default. They are under the GPL-2, so
Sensorium does not bundle them, and neither should a package that bundles Sensorium. On Debian or Ubuntu:

  apt-get download tuxpaint-stamps-default
  dpkg -x tuxpaint-stamps-default_*.deb unpacked
  ls unpacked/usr/share/tuxpaint/stamps

Each picture NAME.png has its captions in NAME.txt: the first line is English, a line `de.utf8=...` is German. Save
each picture on white as FOLDER/stamps/images/ID.jpg, where ID is its path under stamps/ with dashes for slashes, and
write a line to FOLDER/stamps/stamps.jsonl:

  {STAMPS_LINE}

The emoji are npm packages: emoji-datasource-google (pictures: Apache-2.0), emoji-datasource-twitter (CC-BY-4.0) and
emojibase-data (labels: MIT). A shard holds CODE.png and CODE.json, {{"labels": {{"en": "..."}}}}, for each concept.

Then train:

  sensorium train stamps data=FOLDER --out runs/stamps
"""

"""Media from the wild: what is read is right, what is damaged is refused by name, and nothing is lost in silence."""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from test_layout import Letters
from toy import png, toy_model

import sensorium as sm
from sensorium.assembly.assembly import TileTokens
from sensorium.assembly.tiles import Tiles
from sensorium.data import video as video_module
from sensorium.data.audio import loudness, probe_audio, read_audio, resample, sound_length
from sensorium.data.frames import open_all
from sensorium.data.images import MAX_ASPECT, open_picture, picture_size
from sensorium.data.media import kind_of
from sensorium.data.points import read_points
from sensorium.data.row import lay_row
from sensorium.data.tables import as_markdown, as_plain
from sensorium.data.tilings.whole import Whole
from sensorium.data.video import probe, sample_times, video_frames
from sensorium.errors import DataError, LayoutError
from sensorium.fusion.inline import Inline
from sensorium.laid_out import truncate
from sensorium.layout import Layout, MediaRule
from sensorium.sample import Audio, Image, Points, Sample, Table, Text, Video
from sensorium.template import ChatTemplate

av = pytest.importorskip("av")
soundfile = pytest.importorskip("soundfile")

STAMPS = Path(os.environ.get("SENSORIUM_DATA") or Path(__file__).parents[2] / "shared" / "data") / "stamps"
needs_data = pytest.mark.skipif(not STAMPS.is_dir(), reason="set SENSORIUM_DATA: sensorium data fetch-stamps")


class InStore:
    """A file that is neither path nor bytes; it counts how often it is read."""

    name = "bucket/thing"

    def __init__(self, data: bytes) -> None:
        self.data, self.reads = data, 0

    def read(self) -> bytes:
        self.reads += 1
        return self.data


def saved(picture: PILImage.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


# video


def video(container: str = "mp4", codec: str = "mpeg4", frames: int = 30, turn: int = 0, **options: str) -> bytes:
    """Ten frames a second of 32 x 16 pixels; frame i is grey of 8 i, with a white left upper quarter if turned."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as opened:
        stream = opened.add_stream(codec, rate=10, options={"threads": "1", **options})
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        if turn:
            stream.set_display_rotation(turn)
        for number in range(frames):
            pixels = np.full((16, 32, 3), 8 * number, np.uint8)
            pixels[:8, :16] = 255 if turn else 8 * number
            opened.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        opened.mux(stream.encode(None))
    return buffer.getvalue()


def numbers(pictures: Any) -> list[int]:
    return [round(picture.getpixel((20, 12))[0] / 8) for picture in pictures]


KINDS = [
    ("mp4", "libx264", {"g": "7", "qp": "1"}),  # with frames that are stored in another order than they are seen
    ("mp4", "mpeg4", {"g": "30", "qmin": "1", "qmax": "2"}),
    ("matroska", "libx264", {"g": "30", "qp": "1"}),
    ("webm", "libvpx-vp9", {"g": "9", "crf": "4", "b": "0"}),
    ("avi", "mpeg4", {"g": "5", "qmin": "1", "qmax": "2"}),
]


@pytest.mark.parametrize(("container", "codec", "options"), KINDS)
def test_frames_are_those_that_decoding_everything_shows(container: str, codec: str, options: dict[str, str]) -> None:
    data = video(container, codec, **options)
    clip = probe(data)
    assert (clip.size, clip.frames, clip.duration, clip.rate) == ((32, 16), 30, 3.0, 10.0)
    with av.open(io.BytesIO(data)) as opened:
        every = [np.asarray(frame.to_image()) for frame in opened.decode(video=0)]
    frames = video_frames(Video(data, frames=30))
    for order in (frames, frames[::-1], frames[::4], frames[3::11][::-1] + frames[:2]):
        for frame, picture in zip(order, open_all([Image(frame) for frame in order], "clip"), strict=True):
            assert np.array_equal(np.asarray(picture), every[frames.index(frame)])
    assert np.array_equal(np.asarray(frames[17].open()), every[17]), "one by itself"


def remuxed(data: bytes, container: str = "mp4", cut: int = 0, slower: bool = False, **options: str) -> bytes:
    """The same packets, the first `cut` frames of which an edit hides; `slower` makes each frame last longer."""
    buffer = io.BytesIO()
    options |= {"avoid_negative_ts": "disabled"}
    with av.open(io.BytesIO(data)) as given, av.open(buffer, "w", format=container, options=options) as opened:
        stream = opened.add_stream_from_template(given.streams.video[0])
        frame = int(1 / (given.streams.video[0].time_base or 1) / 10)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                places = ((packet.pts or 0) // frame - cut, packet.dts // frame - cut)
                packet.pts, packet.dts = (frame * n + (frame * n * n // 8 if slower and n > 0 else 0) for n in places)
                packet.stream = stream
                opened.mux(packet)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("codec", "change", "tabled"),
    [
        ("libx264", {}, True),
        ("libx264", {"slower": True}, True),
        ("libx264", {"cut": 5}, True),  # the cut frames are decoded for others and not seen
        ("libx264", {"cut": 11, "slower": True, "container": "mov"}, False),  # some of them are not even read
        ("mpeg4", {"slower": True}, True),
        ("mpeg4", {"container": "mov"}, True),
        ("libx264", {"movflags": "frag_keyframe+empty_moov"}, False),
    ],
)
def test_times_from_tables_are_those_of_the_packets(
    codec: str, change: dict[str, Any], tabled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = remuxed(video(codec=codec, g="7"), **change)
    clip, found = probe(data), []
    asked = video_module.tabled_times
    monkeypatch.setattr(video_module, "tabled_times", lambda *given: found.append(asked(*given)))
    slow = probe(data)
    assert (found[0] is not None) == tabled
    assert np.array_equal(clip.pts, slow.pts)
    assert np.array_equal(clip.keys, slow.keys)
    assert (clip.length, clip.size) == (slow.length, slow.size)
    assert clip.frames == 30 - change.get("cut", 0)
    with av.open(io.BytesIO(data)) as opened:
        every = [np.asarray(frame.to_image()) for frame in opened.decode(video=0)]
    frames = [clip.at((int(at) - int(clip.pts[0])) * clip.unit) for at in clip.pts]
    shown = open_all([Image(frame) for frame in frames], "clip")
    assert all(np.array_equal(np.asarray(one), other) for one, other in zip(shown, every, strict=True))


def test_the_middles_of_equal_parts() -> None:
    data = video(qmin="1", qmax="2")
    assert numbers(frame.open() for frame in video_frames(Video(data, frames=5))) == [3, 9, 15, 21, 27]
    assert numbers(frame.open() for frame in video_frames(Video(data, rate=2))) == [2, 7, 12, 17, 22, 27]
    assert numbers(frame.open() for frame in video_frames(Video(data, rate=0.01))) == [15], "never none"
    assert len(video_frames(Video(data, frames=70))) == 70, "more than there are"
    assert sample_times(Video(data, rate=0.5), Fraction(3)) == [1], "none at the very end"
    with pytest.raises(DataError, match="clip 3: 30000 frames are asked for, more than 4096; ask for fewer"):
        video_frames(Video(data, rate=10_000), "clip 3")
    for wrong in ({}, {"frames": 2, "rate": 1.0}, {"frames": 0}, {"rate": -1.0}, {"rate": float("nan")}):
        with pytest.raises(DataError, match="give one, above 0"):
            Video(data, **wrong)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize(("turn", "corner"), [(90, (0, 1)), (-90, (1, 0)), (180, (1, 1))])
def test_turned_videos_are_upright(container: str, turn: int, corner: tuple[int, int]) -> None:
    (frame,) = video_frames(Video(video(container, turn=turn, frames=3), frames=1))
    picture = frame.open()
    assert frame.size == picture.size == ((32, 16) if turn == 180 else (16, 32))
    bright = {
        (x, y): picture.getpixel((x * (picture.width - 1), y * (picture.height - 1))) for x in (0, 1) for y in (0, 1)
    }
    assert max(bright, key=lambda place: bright[place][0]) == corner, "counter-clockwise, as libav says"


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi"])
def test_a_video_cut_short_is_refused_wherever_it_is_cut(container: str) -> None:
    data = video(container)
    assert probe(data)
    for length in range(0, len(data) - 1, 97):
        with pytest.raises(DataError, match=r"^clip"):
            probe(data[:length], "clip")
    with pytest.raises(DataError, match="cut short at"):
        probe(data[: len(data) // 2], "clip")


def test_what_is_no_video(tmp_path: Path) -> None:
    sound = io.BytesIO()
    with av.open(sound, "w", format="mp4") as opened:
        stream = opened.add_stream("aac", rate=16_000)
        opened.mux(stream.encode(None))
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for source in (b"", playlist, sound.getvalue(), png("red", (8, 8)), tmp_path, tmp_path / "none.mp4", pipe):
        with pytest.raises(DataError, match=r"^clip: .*(convert|remove|check|re-encode)"):
            probe(source, "clip")


def test_a_model_of_pictures_reads_a_video(tmp_path: Path) -> None:
    model = toy_model("model.context=128")
    (tmp_path / "a.webm").write_bytes(video())  # mp4 all the same
    said = Text("what happens?"), Text("it brightens", role="assistant", supervise=True)
    store = InStore(video())
    for source in (tmp_path / "a.webm", str(tmp_path / "a.webm"), store):
        laid = model.layout(Sample((Video(source, frames=3), *said), id="1", source="clips"))
        assert [span.start + span.length for span in laid.spans][:2] == [span.start for span in laid.spans][1:]
        row = lay_row([pickle.loads(pickle.dumps(laid))], model.layout, 128)
        shown = [row.tiles[span.cut.plan.tiles * place].mean() for place, span in enumerate(laid.spans)]
        assert shown == sorted(shown), "in order"
        assert len(row.tiles) == laid.tiles == row.media.sum() // 4
    assert store.reads == 1, "to lay it out: what reads the row is a copy"
    half = truncate(laid, laid.spans[1].start + 1)
    assert (len(half.spans), half.supervised.any()) == (1, False), "what is said of a cut video is gone with it"
    assert isinstance(model.generate([Video(store, frames=2), "what?"], max_tokens=2), str)


# sound


TIME = np.arange(8000) / 8000
TONES = np.stack([np.sin(2 * np.pi * 440 * TIME) / 2, np.sin(2 * np.pi * 1000 * TIME) / 4]).astype(np.float32)


def sound(kind: str, values: np.ndarray = TONES, **options: Any) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, values.T, 8000, format=kind, **options)
    return buffer.getvalue()


def test_wav_is_what_the_standard_library_reads() -> None:
    data = sound("wav", subtype="PCM_16")
    with wave.open(io.BytesIO(data)) as opened:
        values = np.frombuffer(opened.readframes(-1), "<i2").reshape(-1, 2).T / 32768
    found = read_audio(InStore(data))
    assert (found.shape, found.dtype) == ((2, 8000), np.float32)
    assert np.array_equal(found, values.astype(np.float32))
    assert np.allclose(read_audio(data, mono=True), values.mean(0, keepdims=True), atol=1e-7)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_sounds_are_resampled_in_place(kind: str) -> None:
    data, time = sound(kind), np.arange(12_000) / 12_000
    info = probe_audio(data)
    assert (info.rate, info.channels, info.seconds) == (8000, 2, 1.0)
    found = read_audio(data, 12_000)
    wanted = np.stack([np.sin(2 * np.pi * 440 * time) / 2, np.sin(2 * np.pi * 1000 * time) / 4])
    assert found.shape == (2, 12_000)
    assert np.abs(found - wanted)[:, 500:-500].max() < (0.08 if kind in ("ogg", "mp3") else 1e-3)


def test_compressed_sound_and_that_of_a_video() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as opened:
        stream = opened.add_stream("aac", rate=8000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(TONES, "fltp", "stereo")
        frame.sample_rate = 8000
        opened.mux(stream.encode(frame))
        opened.mux(stream.encode(None))
    found = read_audio(buffer.getvalue())
    assert found.shape[0] == probe_audio(buffer.getvalue()).channels == 2
    assert 8000 <= found.shape[1] < 8000 + 3 * 1024, "AAC pads to whole blocks"
    assert loudness(found[:1, 2000:6000]) == pytest.approx(-9.03, abs=0.3)


def test_lengths_of_resampled_sound() -> None:
    for length, rate, to in ((1, 8000, 16_000), (7, 48_000, 8000), (1234, 44_100, 16_000), (999, 8000, 44_100)):
        assert resample(np.ones((3, length), np.float32), rate, to).shape == (3, max(1, round(length * to / rate)))


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_the_length_of_a_sound_is_known_before_it_is_decoded(kind: str) -> None:
    for samples, rate in ((1234, 16_000), (8000, 44_100), (7, 8000)):
        data = sound(kind, TONES[:, :samples])
        assert sound_length(data, rate) == read_audio(data, rate).shape[1]


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_a_sound_cut_short_is_refused_wherever_it_is_cut(kind: str) -> None:
    data = sound(kind)
    for length in {*range(0, len(data) - 1, len(data) // 50), len(data) - 2}:
        with pytest.raises(DataError, match=r"^bark"):
            read_audio(data[:length], name="bark")


def test_silence_is_heard_and_nothing_is_refused() -> None:
    assert loudness(read_audio(sound("wav", np.zeros((1, 9), np.float32)))) == float("-inf")
    assert loudness(np.array([[1.0, -1.0]])) == 0
    for values, said in ((np.zeros((1, 0)), "holds no samples"), (np.array([[0, np.nan]]), "not finite")):
        with pytest.raises(DataError, match=said):
            read_audio(sound("wav", values.astype(np.float32), subtype="FLOAT"))
    with pytest.raises(DataError, match=r"^bark: 15 bytes is no sound of a known kind|is no audio of a known kind"):
        read_audio(b"a text, really.", name="bark")


def test_a_rate_that_nothing_has_is_refused_before_it_takes_for_ever() -> None:
    data = bytearray(sound("wav"))
    for rate in (1, 67_116_864):
        data[24:28] = rate.to_bytes(4, "little")
        with pytest.raises(DataError, match=f"bark: .* has {rate} samples a second; between 1000 and 768000"):
            read_audio(bytes(data), 16_000, name="bark")
    with pytest.raises(DataError, match="are too many"):
        resample(np.zeros((1, 10_000_000), np.float32), 1000, 16_000)


@needs_data
def test_real_sounds_are_read() -> None:
    for file in sorted((STAMPS / "audio").iterdir())[::60]:
        heard = read_audio(file, 16_000, mono=True)
        assert heard.shape == (1, round(16_000 * (probe_audio(file).seconds or 0)))
        assert -80 < loudness(heard) < 0


# tables


def test_a_table_is_read_as_markdown() -> None:
    table = Table([["red", 3], ["a|b\\", None], ["two\nlines", 2.5]], header=["what", "n"])
    assert as_markdown(table).split("\n") == [
        "| what | n |", "| --- | --- |", "| red | 3 |", "| a\\|b\\\\ |  |", "| two<br>lines | 2.5 |"
    ]  # fmt: skip
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in as_markdown(table).split("\n")] == [3] * 5
    letters: Any = Letters()
    rule = MediaRule(Tiles.Config(), Inline.Config(), TileTokens(2))
    layout = Layout(letters, ChatTemplate(), Whole.Config().build(input_size=(16, 16)), rule, 200, "refuse")
    laid = layout(Sample((Text("see"), table)))
    assert "".join(map(chr, laid.ids[1:])) == f"see\n{as_markdown(table)}\n"
    assert Sample((table, Image(png("red", (9, 9))))).blind().segments == (table,), "a twin without eyes reads tables"
    assert hash(table) == hash(Table((("red", "3"), ("a|b\\", ""), ("two\nlines", "2.5")), ("what", "n")))


def test_a_plain_table_loses_nothing() -> None:
    rows = (("a\tb", "c\\n"), ("", "d\r\ne"), ("\\", "\\t"))
    undo = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
    lines = as_plain(Table(rows)).split("\n")
    assert tuple(tuple(re.sub(r"\\.", lambda m: undo[m[0]], c) for c in line.split("\t")) for line in lines) == rows


@pytest.mark.parametrize(("rows", "header"), [([], []), ([[]], []), ([[1], [1, 2]], []), ([[1]], ["a", "b"])])
def test_ragged_tables_are_refused(rows: Any, header: Any) -> None:
    with pytest.raises(DataError, match="give all the same, at least one"):
        Table(rows, header)


@pytest.mark.parametrize("text", ["a\ud800b", ["\udfff"]])
def test_half_characters_are_refused(text: Any) -> None:
    segment = Text(text) if isinstance(text, str) else Table([text])
    with pytest.raises(DataError, match=r"sample/7: the text .* is no Unicode"):
        toy_model().layout(Sample((segment,), id="7"))


# points

CLOUD = np.array([[1, 2, 3, 255], [-1.5, 0, 1e-3, 7]], np.float32)


def ply(order: str, rows: bytes, before: str = "") -> bytes:
    columns = "property float x\nproperty double y\nproperty uchar red\nproperty float z\n"
    faces = "element face 1\nproperty list uchar int vertex_indices\n"
    return f"ply\nformat {order} 1.0\ncomment a\n{before}element vertex 2\n{columns}{faces}end_header\n".encode() + rows


def packed(order: str) -> bytes:
    kinds = np.dtype([("x", order + "f4"), ("y", order + "f8"), ("red", "u1"), ("z", order + "f4")])
    return np.array([tuple(row) for row in CLOUD[:, [0, 1, 3, 2]].tolist()], kinds).tobytes() + b"\3" + bytes(12)


ROWS = b"1 2 255 3\r\n-1.5 0 7 1e-3\r\n3 0 1 1\n"


def npy(values: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        ply("ascii", ROWS),
        ply("binary_little_endian", packed("<")),
        ply("binary_big_endian", packed(">")),
        ply("binary_little_endian", b"\7\0" + packed("<"), "element sensor 1\nproperty short gain\n"),
        npy(CLOUD),
        npy(np.asfortranarray(CLOUD.astype(">f8"))),
    ],
)
def test_clouds_of_points(data: bytes) -> None:
    found = read_points(data)
    assert found.dtype == np.float32
    assert np.array_equal(found, CLOUD), "x, y, z and then the others"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (ply("ascii", ROWS[:14]), "row 1 of 'vertex' has 1 numbers, not 4"),
        (ply("binary_big_endian", packed(">")[:20]), "cut short at 20 of 34 bytes"),
        (ply("ascii", ROWS).replace(b"vertex 2", b"vertex 999999999"), "cut short"),
        (ply("binary_little_endian", b"").replace(b"vertex 2", b"vertex 99999999"), "cut short at 0"),
        (ply("ascii", ROWS).replace(b" x\n", b" w\n"), "expected x, y and z"),
        (ply("ascii", ROWS.replace(b" 3\r", b" nan\r")), "not finite"),
        (ply("ascii", ROWS).replace(b"vertex 2", b"vertex 0"), "holds no points"),
        (npy(CLOUD)[:-3], "cut short at 29 of 32 bytes"),
        (npy(CLOUD[:, :2]), "expected numbers of shape"),
        (npy(np.array([[print] * 3]), allow_pickle=True), "expected numbers of shape"),
        (npy(CLOUD).replace(b"(2, 4)", b"(2,9999999999)"), "more than 100000000"),
        (b"solid cube", "neither a PLY nor"),
        (b"", "neither a PLY nor"),
    ],
)
def test_clouds_that_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"^scan: .*{said}"):
        read_points(data, "scan")


@pytest.mark.parametrize("segment", [Audio(b""), Points(b"")])
def test_what_no_encoder_reads_is_said(segment: Any) -> None:
    with pytest.raises(LayoutError, match=rf"sample/7: no encoder reads a {type(segment).__name__} segment"):
        toy_model().layout(Sample((segment, Text("?")), id="7"))


# pictures


def pixel(data: bytes, place: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    assert picture_size(data) == open_picture(data).size
    return open_picture(data).getpixel(place)  # type: ignore[return-value]


def near(colour: tuple[int, ...], wanted: tuple[int, ...], by: int) -> bool:
    return max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) <= by


def test_colours_of_every_mode() -> None:
    def flat(mode: str, colour: Any) -> PILImage.Image:
        return PILImage.new(mode, (16, 16), colour)

    assert pixel(saved(flat("1", 1), "png")) == (255, 255, 255)
    assert pixel(saved(flat("LA", (0, 128)), "png")) == (127, 127, 127)
    assert pixel(saved(flat("RGBA", (255, 0, 0, 0)), "webp", lossless=True, exact=True)) == (255, 255, 255)
    assert pixel(saved(PILImage.fromarray(np.full((4, 4), 0x8080, np.uint16)), "png")) == (128, 128, 128)
    assert pixel(saved(PILImage.fromarray(np.full((4, 4), 0x8080, np.uint16)), "tiff")) == (128, 128, 128)
    palette = flat("P", 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    assert pixel(saved(palette, "png")) == pixel(saved(palette, "gif")) == (10, 200, 30)
    assert pixel(saved(palette, "png", transparency=1)) == (255, 255, 255)
    assert near(pixel(saved(flat("CMYK", (255, 0, 0, 0)), "tiff")), (0, 255, 255), 1)
    assert near(pixel(saved(flat("YCbCr", (76, 85, 255)), "jpeg")), (254, 0, 0), 3)


def test_transparent_grey_of_16_bits_is_white() -> None:
    grey = PILImage.fromarray(np.array([[0x1234, 0x4040]], np.uint16).repeat(4, 1))
    data = saved(grey, "png", transparency=0x1234)
    assert (pixel(data), pixel(data, (4, 0))) == ((255, 255, 255), (64, 64, 64))


def test_adobe_jpegs_store_their_inks_inverted() -> None:
    picture = PILImage.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = saved(picture, "jpeg")
    assert b"Adobe" in data, "Pillow writes them as Photoshop does"
    assert near(pixel(data), (255, 0, 0), 3)


def test_lab_is_what_its_formula_says() -> None:
    """CIE 1976: from L, a, b by the white point D50 and the Bradford matrix of sRGB."""
    lightness, a, b = 60.0, 30.0, -40.0
    y = (lightness + 16) / 116
    cubes = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(cubes > 6 / 29, cubes**3, 3 * (6 / 29) ** 2 * (cubes - 4 / 29)) * (0.9642, 1.0, 0.8249)
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.array(matrix) @ xyz
    wanted = 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    bands = (round(lightness * 2.55), 128 + int(a), 128 + int(b))
    lab = PILImage.merge("LAB", [PILImage.new("L", (4, 4), value) for value in bands])
    assert near(pixel(saved(lab, "tiff")), tuple(wanted.round().astype(int)), 2)


def test_the_first_picture_of_an_animation() -> None:
    first, second = (PILImage.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    for kind in ("gif", "webp", "png"):
        data = saved(first, kind, save_all=True, append_images=[second], duration=100)
        assert near(pixel(data), (255, 0, 0), 3), kind


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp", "tiff"])
def test_a_picture_cut_short_is_refused_wherever_it_is_cut(kind: str) -> None:
    noise = PILImage.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8))
    data = saved(noise, kind)
    ending = {"png": 4, "gif": 2, "bmp": 2}.get(kind, 0)  # what no pixel depends on
    for length in {*range(0, len(data) - ending, 41), len(data) - ending - 1}:
        with pytest.raises(DataError, match=r"^scan: "):
            open_picture(data[:length], "scan")


def test_a_flipped_bit_in_a_png_is_noticed() -> None:
    data = bytearray(saved(PILImage.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8)), "png"))
    data[data.index(b"IDAT") + 30] ^= 4
    with pytest.raises(DataError, match="scan: cannot decode"):
        open_picture(bytes(data), "scan")


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (saved(PILImage.new("1", (9000, 9000)), "png"), "9000 x 9000 pixels; between 1 and 64000000"),
        (saved(PILImage.new("L", (int(MAX_ASPECT) + 1, 1)), "png"), "longer than 200 : 1; crop or remove it"),
        (saved(PILImage.new("F", (4, 4), 0.5), "tiff"), "floating-point pixels have no agreed black and white"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture of a known format"),
    ],
)
@pytest.mark.filterwarnings("ignore:Image size")
def test_pictures_that_are_refused(picture: bytes, said: str) -> None:
    with pytest.raises(DataError, match=f"^scan: .*{said}"):
        open_picture(picture, "scan")


def test_pictures_by_any_reference(tmp_path: Path) -> None:
    data = png("green", (9, 30))
    (tmp_path / "a.jpg").write_bytes(data)
    store = InStore(data)
    for source in (data, tmp_path / "a.jpg", str(tmp_path / "a.jpg"), store):
        assert picture_size(source) == (9, 30)
        assert open_picture(source).getpixel((0, 0)) == (0, 200, 0)
    assert store.reads == 2
    assert len(toy_model().layout(sm.caption(InStore(data), "a"))) > 4
    os.mkfifo(tmp_path / "pipe.png")
    for source, said in (
        (tmp_path / "pipe.png", "is not a readable file"),
        ("a\0.png", "no file|cannot be opened"),
        ("a" * 5000, "cannot be opened"),
    ):
        for read in (open_picture, picture_size):
            with pytest.raises(DataError, match=said):
                read(source)


@needs_data
def test_real_pictures_are_what_pillow_says() -> None:
    for file in sorted((STAMPS / "images").iterdir())[::60]:
        with PILImage.open(file) as opened:
            assert np.array_equal(np.asarray(open_picture(file)), np.asarray(opened.convert("RGB")))


# all


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: sound("wav"), "wav"), (lambda: sound("flac"), "flac"), (lambda: sound("ogg"), "ogg"),
        (lambda: sound("mp3"), "mp3"), (video, "mp4"), (lambda: video("webm", "libvpx"), "matroska"),
        (lambda: video("avi"), "avi"), (lambda: npy(CLOUD), "npy"), (lambda: ply("ascii", ROWS), "ply"),
        (lambda: b"\xff\xf1\x50", "aac"), (lambda: b"hello", None), (lambda: b"", None),
    ],
)  # fmt: skip
def test_files_are_told_apart_by_content(make: Callable[[], bytes], kind: str | None) -> None:
    assert kind_of(make()[:16]) == kind


def test_torch_and_decoders_are_not_imported_before_they_are_needed() -> None:
    modules = "audio, frames, images, libav, points, tables, video"
    code = (
        f"import sys; from sensorium.data import {modules}; print(*({{'torch', 'av', 'soundfile'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == ""

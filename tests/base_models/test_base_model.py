import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dwm.base_models import BaseModel, StoredText
from dwm.base_models.base import load_autoencoder
from dwm.base_models.tiny import create_tiny_base_model
from dwm.errors import DwmError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "base"
    create_tiny_base_model(folder, ["day night rain clear"], seed=1)
    return folder


def test_recorded_text_and_pictures(shared: Path) -> None:
    base = BaseModel.load(shared / "vectors/base_models/sd3", piece=4)
    case = shared / "vectors/pipelines/images"
    recorded = load_file(case / "outputs.safetensors")
    prompts = json.loads((case / "inputs.json").read_text())["clip_text"][0][0]
    found = base.text.encode([""] * 6 + prompts)
    torch.testing.assert_close(
        found.sequence[:, ::22], recorded["call0.encoder_hidden_states"].flatten(0, 2), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(found.pooled, recorded["call0.pooled_projections"].flatten(0, 2), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        pictures = base.autoencoder.decode(recorded["call0.latents"])
    torch.testing.assert_close(pictures[0, 0], recorded["images"].float(), atol=1e-3, rtol=0)


def test_recorded_first_frame_of_a_video_autoencoder(shared: Path) -> None:
    case = shared / "vectors/pipelines/temporal_vae"
    autoencoder = load_autoencoder(shared / "vectors/base_models/cogvideox_vae")
    pictures = load_file(case / "inputs.safetensors")["vae_images"][:, :1].float() / 255
    with torch.no_grad():
        found = autoencoder.encode(pictures)
        assert autoencoder.decode(torch.zeros(1, 3, 2, 16, 2, 2)).shape == (1, 9, 2, 3, 16, 16)
    recorded = load_file(case / "outputs.safetensors")["call0.image_latents"]
    torch.testing.assert_close(found, recorded, atol=1e-4, rtol=1e-4)
    with pytest.raises(DwmError, match="1 \\+ 4k"):
        autoencoder.encode(pictures[:, [0] * 4])


def test_embedded_sizes(folder: Path) -> None:
    base = BaseModel.load(folder)
    found = base.text.encode(["night rain", "day", "night rain"])
    assert found.sequence.shape == (3, 24, 96) and found.pooled.shape == (3, 96)
    assert torch.equal(found.sequence[0], found.sequence[2]) and not torch.equal(found.pooled[0], found.pooled[1])
    assert base.autoencoder.latent_shape(8, 6, (160, 96)) == (8, 6, 8, 12, 20)
    text = sum(p.numel() for p in base.text.parameters())
    pictures = sum(p.numel() for p in base.autoencoder.parameters())
    assert 2 * text < 3e6 and 2 * pictures < 5.3e6


def test_pieces_change_nothing(folder: Path) -> None:
    whole, pieces = load_autoencoder(folder), load_autoencoder(folder, piece=3)
    frames = torch.rand(2, 2, 2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = whole.encode(frames)
        torch.testing.assert_close(pieces.encode(frames), latents, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(pieces.decode(latents), whole.decode(latents), atol=1e-5, rtol=1e-5)
        drawn = [whole.encode(frames, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_without_t5_its_tokens_are_zeros(folder: Path) -> None:
    full, short = BaseModel.load(folder, autoencoder=False), BaseModel.load(folder, autoencoder=False, t5=False)
    a, b = full.text.encode(["night"]), short.text.encode(["night"])
    assert torch.equal(a.sequence[:, :16], b.sequence[:, :16])
    assert a.sequence[:, 16:].abs().sum() > 0 and not b.sequence[:, 16:].any() and a.sequence.shape == b.sequence.shape


def test_encoders_can_be_trained_when_asked(folder: Path) -> None:
    text = BaseModel.load(folder, autoencoder=False).text.requires_grad_(True)
    assert not text.encode(["night"]).sequence.requires_grad
    text.encode(["night"], gradients=True).sequence.sum().backward()
    assert all(encoder.grad is not None for encoder in (text.clips[0].get_input_embeddings().weight,))


def test_stored_embeddings_replace_the_encoders(folder: Path, tmp_path: Path) -> None:
    text = BaseModel.load(folder, autoencoder=False).text
    prompts = ["night", "", "day rain"]
    StoredText(prompts, text.encode(prompts)).save(tmp_path / "text.safetensors")
    stored = StoredText.load(tmp_path / "text.safetensors")
    assert torch.equal(stored.encode(["day rain", "night"]).sequence, text.encode(prompts).sequence[[2, 0]])
    with pytest.raises(DwmError, match="'fog' is not among"):
        stored.encode(["fog"])


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DwmError, match=r"stable-diffusion-3.5-medium: is missing; fetch https://"):
        BaseModel.load(tmp_path / "stable-diffusion-3.5-medium")
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler/scheduler_config.json").write_text("{}")
    with pytest.raises(DwmError, match=r"config.json: is missing"):
        BaseModel.load(tmp_path, text=False)
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/config.json").write_text('{"_class_name": "os.system"}')
    with pytest.raises(DwmError, match=r"'os.system' is not known"):
        BaseModel.load(tmp_path, text=False)


def test_a_truncated_file_is_named(folder: Path, tmp_path: Path) -> None:
    create_tiny_base_model(tmp_path / "cut", ["day"], seed=1)
    weights = tmp_path / "cut/vae/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DwmError, match="vae: cannot be loaded"):
        BaseModel.load(tmp_path / "cut", text=False)


def test_loading_says_nothing(folder: Path, capfd) -> None:
    BaseModel.load(folder)
    heard = capfd.readouterr()
    assert (heard.out, heard.err) == ("", "")

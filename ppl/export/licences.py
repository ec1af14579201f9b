"""Where an encoder's pretrained weights come from, and what is known of their licence."""

import json
from pathlib import Path

UNKNOWN = "not known here"

IMAGENET = (
    "ImageNet's pictures are offered for research that is not commercial; what follows for weights "
    "learned from them is yours to judge"
)


def weights_note(encoder: Path) -> dict[str, str]:
    """Of the folder that `import_encoder` left: the weights' source, their page and licence."""
    described = json.loads((encoder / "encoder.json").read_text(encoding="utf-8"))
    name, source = described["encoder"], described["source"]
    if source == "random":
        return {"encoder": name, "source": "random", "licence": "no weights of others"}
    if source == "imagenet":
        page, licence = _hub(name)
        return {
            "encoder": name,
            "source": source,
            "page": page,
            "licence": licence,
            "note": IMAGENET,
        }
    return {
        "encoder": name,
        "source": source,
        "sha256": described["sha256"],
        "licence": f"{UNKNOWN}: the file was given by hand",
    }


def _hub(encoder: str) -> tuple[str, str]:
    """The page of the weights of an encoder, and the licence, as the libraries tell them."""
    import segmentation_models_pytorch as smp
    import timm

    if encoder.startswith("tu-"):
        known = timm.get_pretrained_cfg(encoder.removeprefix("tu-"), allow_unregistered=True)
        page = f"https://huggingface.co/{known.hf_hub_id}" if known and known.hf_hub_id else UNKNOWN
        return page, (known.license if known and known.license else UNKNOWN)
    settings = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {})
    repo = settings.get("imagenet", {}).get("repo_id")
    return (f"https://huggingface.co/{repo}" if repo else UNKNOWN), UNKNOWN

"""gdo picks the image and video samples worth fine-tuning a multimodal model on."""

__version__ = "0.1.0"

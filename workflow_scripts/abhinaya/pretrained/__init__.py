"""Pretrained weights from the Hugging Face hub, a folder, a Python package, GGUF or CTranslate2 files.

Locates models, checks access, downloads them and computes their digests.
"""

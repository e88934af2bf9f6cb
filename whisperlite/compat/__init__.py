"""Other engines' interfaces over whisperlite: swap one import.

``whisperlite.compat.openai`` for openai-whisper, ``whisperlite.compat.faster_whisper`` for faster-whisper.

In: their names and options. Out: their shapes of result. Knows nothing of: how anything is computed.
An option that cannot be honoured raises ``OptionError``, here as elsewhere.
"""

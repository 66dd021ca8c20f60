//! Speech to text: whisper.cpp.

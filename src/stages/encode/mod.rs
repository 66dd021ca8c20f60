//! PCM to MP3: LAME.

//! Container and codec to PCM: symphonia and libopus.

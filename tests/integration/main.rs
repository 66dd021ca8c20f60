//! The daemon as its peers see it: sockets, HTTP, files, signals.
//!
//! Every test starts daemons of its own, on free ports and in folders of their own, with the fixture
//! models. The gateway's part is played by libzmq through Python, MongoDB's by FerretDB. What a
//! machine lacks is skipped with a line that says so, unless `REQUIRE_…=1` forbids it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on panics, says why it skips, and reads its switches itself"
)]

mod architecture;
mod audio_cache;
mod audio_containers;
mod audio_failures;
mod audio_fidelity;
mod audio_formats;
mod audio_languages;
mod audio_repeats;
mod audio_sources;
mod audio_transcripts;
mod audio_voices;
mod bad_input;
mod base_voices;
mod broken_audio;
mod canaries;
mod chaos_checker;
mod commands;
mod console;
mod contract;
mod conversations;
mod decode_workers;
mod demo;
mod durability;
mod http_audio;
mod http_bodies;
mod http_catalogue;
mod http_examples;
mod http_interface;
mod http_jobs;
mod http_load;
mod http_matrix;
mod http_patience;
mod http_speech;
mod http_storage;
mod http_text;
mod http_voice_api;
mod isolation;
mod jobs_admin;
mod ledger_damage;
mod lifecycle;
mod model_pull;
mod model_pull_faults;
mod mongodb;
mod mongodb_outages;
mod overload;
mod publishing;
mod settlement;
mod shutdown;
mod storage;
mod support;
mod text;
mod text_cache;
mod text_lanes;
mod text_repeats;
mod unfinished_messages;
mod upstream_defects;
mod voice_analysis;
mod voice_api;
mod voice_api_errors;
mod voice_attacks;
mod voice_history;
mod voice_jobs;
mod voice_profiles;
mod voices_deletion;
mod voices_history;
mod voices_kept;

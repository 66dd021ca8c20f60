//! The daemon as its peers see it: sockets, HTTP, files, signals.
//!
//! Every test starts daemons of its own, on free ports and in folders of their own, with the fixture
//! models. The gateway's part is played by libzmq through Python, MongoDB's by FerretDB. What a
//! machine lacks is skipped with a line that says so, unless `REQUIRE_…=1` forbids it.

mod architecture;
mod bad_input;
mod commands;
mod lifecycle;
mod support;
mod text;

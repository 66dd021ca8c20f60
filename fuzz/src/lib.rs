//! The daemon's modules that read hostile bytes, and nothing else of it: no engine, no whisper.cpp, no
//! ZeroMQ. That builds in a minute, reaches what is private to the daemon, and instruments what matters.
#![forbid(unsafe_code)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the daemon uses more of these modules"
)]

#[path = "../../src/stages/decode/mod.rs"]
pub mod decode;
#[path = "../../src/domain/mod.rs"]
pub mod domain;
#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/fault.rs"]
pub mod fault;
#[path = "../../src/voices/foreign.rs"]
pub mod foreign;
#[path = "../../src/ledger/mod.rs"]
pub mod ledger;
#[path = "../../src/protocol/mod.rs"]
pub mod protocol;
#[path = "../../src/storage.rs"]
pub mod storage;
#[path = "../../src/stages/translate/structure.rs"]
pub mod structure;

#[path = "../../src/observe"]
pub mod observe {
    pub mod metrics;
}

pub mod stages {
    pub use crate::decode;

    pub mod translate {
        pub use crate::structure;
    }

    pub trait StageError: std::error::Error + Send + Sync + 'static {
        fn reason(&self) -> crate::error::Reason;
    }
}

pub mod voices {
    pub use crate::foreign;
}

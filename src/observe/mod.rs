//! What an operator sees: logs, metrics, health.

pub mod health;
pub mod latency;
pub mod log;
pub mod metrics;
pub mod process;

pub use health::Health;

use serde::{Deserialize, Serialize};

use super::Problems;

/// The sockets of the gateway.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ZmqSettings {
    /// An address or an interface's name.
    pub bind_address: String,
    /// Where requests come in; 0 takes any free port.
    pub pull_port: u16,
    /// Where events go out; 0 takes any free port.
    pub pub_port: u16,
    /// Largest message that is read.
    pub max_message_bytes: u64,
    /// Connections to each of the two sockets at once.
    pub max_connections: u32,
    /// Bytes that the kernel takes from a peer before they are read.
    pub receive_buffer_bytes: u32,
    /// Events that wait in memory for one subscriber.
    pub publish_high_water_mark: u32,
    /// Bytes of events that wait in memory for all subscribers together.
    pub publish_buffer_bytes: u64,
    /// Time after which a subscriber that takes nothing is disconnected.
    pub subscriber_stall_secs: u64,
}

impl ZmqSettings {
    pub(super) fn validate(&self, problems: &mut Problems) {
        let is_address = !self.bind_address.is_empty() && !self.bind_address.contains(['/', ' ']);
        problems.require(
            is_address,
            "zmq.bind_address",
            "is neither an address nor an interface",
        );
        let ports_differ = self.pull_port != self.pub_port || self.pull_port == 0;
        problems.require(ports_differ, "zmq.pub_port", "is the same as zmq.pull_port");
        // The gateway sends recordings of up to 10 MiB; what fits into memory twice is enough.
        problems.within(
            "zmq.max_message_bytes",
            self.max_message_bytes,
            1 << 20..=1 << 30,
        );
        problems.within("zmq.max_connections", self.max_connections, 8..=100_000);
        problems.within(
            "zmq.receive_buffer_bytes",
            self.receive_buffer_bytes,
            4 << 10..=64 << 20,
        );
        problems.within(
            "zmq.publish_high_water_mark",
            self.publish_high_water_mark,
            1..=1_000_000,
        );
        problems.within(
            "zmq.publish_buffer_bytes",
            self.publish_buffer_bytes,
            1 << 20..=1 << 34,
        );
        problems.within(
            "zmq.subscriber_stall_secs",
            self.subscriber_stall_secs,
            1..=3_600,
        );
    }
}

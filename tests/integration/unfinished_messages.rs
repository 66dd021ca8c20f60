//! Peers that never finish a message: they cost their own connection, and the daemon bounded memory.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::daemon::Daemon;
use crate::support::gateway::Gateway;
use crate::support::{PATIENCE, settings_file, zmtp};

const MIB: u64 = 1 << 20;

/// A PUSH that speaks ZMTP 3 by hand.
fn push(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    zmtp::shake_hands(&mut stream, "PUSH").unwrap();
    stream
}

/// Sends parts until the daemon closes; returns the bytes that went and the most memory that was seen.
fn attack(daemon: &Daemon, parts: &[u8]) -> (u64, u64) {
    let mut stream = push(daemon.ports.pull);
    let (mut sent, mut peak) = (0, 0);
    while stream.write_all(parts).is_ok() {
        sent += parts.len() as u64;
        peak = peak.max(daemon.resident_bytes());
        assert!(sent < 8 << 30, "8 GiB were taken");
    }
    (sent, peak.max(daemon.resident_bytes()))
}

#[test]
fn parts_without_end_cost_the_connection_and_bounded_memory() {
    // 3 bytes on the wire are 64 in libzmq.
    let settings = settings_file("[zmq]\nmax_message_bytes = 4194304\n");
    let daemon = Daemon::start_with(&[("TRANSLATOR_CONFIG", settings.path().to_str().unwrap())]);
    daemon.wait_loaded();
    let mut gateway = Gateway::connect(daemon.ports);
    gateway.ping();
    let large = [&[3][..], &60_000_u64.to_be_bytes(), &[b'x'; 60_000]].concat();
    let attacks = [
        ("60 KB", large.repeat(10)),
        ("1 byte", b"\x01\x01x".repeat(100_000)),
        (
            "40 bytes",
            [&[1, 40][..], &[b'x'; 40]].concat().repeat(10_000),
        ),
    ];
    for (number, (name, parts)) in (1..).zip(&attacks) {
        let before = daemon.resident_bytes();
        let (sent, peak) = attack(&daemon, parts);
        let growth = peak.saturating_sub(before);
        eprintln!(
            "parts of {name}: closed after {} MiB, memory {} + {} MiB",
            sent / MIB,
            before / MIB,
            growth / MIB
        );
        assert!(growth < 1024 * MIB, "{growth} bytes of memory");
        // Which limit is seen to be exceeded first depends on when it is looked at.
        let labels = [r#"socket="intake""#];
        let closed = daemon.metric("translator_connections_closed_total", &labels);
        assert_eq!(closed, f64::from(number));
        gateway.ping();
    }
    let line = "a connection was closed: it sends more than a message may have";
    assert_eq!(daemon.log().matches(line).count(), attacks.len());
    assert!(daemon.log().contains("peer=127.0.0.1:"));
}

#[test]
fn idle_peers_take_no_descriptors_from_others() {
    let settings = settings_file("[zmq]\nmax_message_bytes = 4194304\nmax_connections = 50\n");
    let daemon = Daemon::start_with(&[("TRANSLATOR_CONFIG", settings.path().to_str().unwrap())]);
    daemon.wait_loaded();
    let mut gateway = Gateway::connect(daemon.ports);
    gateway.ping();
    let idle: Vec<_> = (0..400).map(|_| push(daemon.ports.pull)).collect();
    let closed = |reason: &str| {
        let labels = [r#"socket="intake""#, reason];
        daemon.metric("translator_connections_closed_total", &labels)
    };
    crate::support::wait_for("room for others", || {
        (closed("too_many") >= 351.0).then_some(())
    });
    gateway.ping();
    // One line, not one for each.
    assert_eq!(daemon.log().matches("too many connections").count(), 1);
    attack(&daemon, &b"\x01\x01x".repeat(100_000));
    gateway.ping();
    drop(idle);
}

#[test]
fn messages_without_end_are_ended_when_no_descriptor_is_left() {
    let settings = settings_file("[zmq]\nmax_message_bytes = 1048576\n");
    let daemon = Daemon::start_with(&[("TRANSLATOR_CONFIG", settings.path().to_str().unwrap())]);
    daemon.wait_loaded();
    let mut peer = push(daemon.ports.pull);
    // Idle peers take the rest of few descriptors: nothing can be opened or accepted from now on.
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let limit = numbers
        .map(|number| number.parse::<u64>().unwrap() + 1)
        .max();
    let few = Rlimit {
        current: limit,
        maximum: limit,
    };
    let pid = Pid::from_raw(daemon.pid().try_into().unwrap());
    let before = prlimit(pid, Resource::Nofile, few).unwrap();
    assert_eq!(
        before.current, before.maximum,
        "the daemon has raised its limit"
    );
    let connect = |_| TcpStream::connect(("127.0.0.1", daemon.ports.pull)).unwrap();
    let _idle: Vec<_> = (0..100).map(connect).collect();
    let parts = [&[3][..], &60_000_u64.to_be_bytes(), &[b'x'; 60_000]].concat();
    let mut sent = 0;
    while peer.write_all(&parts).is_ok() {
        sent += parts.len();
        assert!(sent < 1 << 30, "1 GiB was taken");
    }
    daemon.wait_logged("a connection was closed: it sends more than a message may have");
}

#[test]
fn a_large_recording_that_comes_slowly_is_taken() {
    let daemon = Daemon::start();
    let mut slow = push(daemon.ports.pull);
    let head = br#"{"type":"nonsense","taskId":"slow"}"#;
    let mut message = vec![1, head.len() as u8];
    message.extend(head);
    message.push(2);
    message.extend((60_000_000_u64).to_be_bytes());
    message.extend(vec![0; 60_000_000]);
    for piece in message.chunks(2_000_000) {
        slow.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    crate::support::wait_for("the answer to the large message", || {
        (daemon.metric("translator_requests_rejected_total", &[]) >= 1.0).then_some(())
    });
    assert!(!daemon.log().contains("a connection was closed"));
}

#[test]
fn small_frames_that_come_one_by_one_take_little_memory() {
    let daemon = Daemon::start();
    daemon.wait_loaded();
    let mut peer = push(daemon.ports.pull);
    peer.set_nodelay(true).unwrap();
    let before = daemon.resident_bytes();
    let part = [&[1, 37][..], &[b'x'; 37]].concat();
    // libzmq would keep a buffer of 8 KiB and more for each, if it did not copy.
    for _ in 0..20_000 {
        peer.write_all(&part).unwrap();
        std::thread::sleep(Duration::from_micros(50));
    }
    let growth = daemon.resident_bytes().saturating_sub(before);
    eprintln!("20 000 frames of 37 bytes: {} KiB", growth >> 10);
    assert!(growth < 48 * MIB, "{growth} bytes of memory");
}

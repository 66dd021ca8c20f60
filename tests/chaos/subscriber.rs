//! The gateway's SUB socket: it listens, stalls, goes away and comes again, and logs what it gets.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::checker::evidence::{EventFacts, Receipt, fingerprint, sha256};
use crate::support::now_ms;
use crate::support::tests_daemon::Ports;

/// How long a subscriber waits for an event before it looks at what it is to do.
const POLL_MS: i32 = 50;

/// What a subscriber does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Reads what comes.
    Listen,
    /// Is connected, and reads nothing.
    Stall,
    /// Has closed its socket.
    Away,
    /// Ends.
    End,
}

impl Mode {
    fn of(value: u8) -> Self {
        match value {
            0 => Self::Listen,
            1 => Self::Stall,
            2 => Self::Away,
            _ => Self::End,
        }
    }
}

/// The log of all subscribers of a run, in the order of arrival.
pub type Receipts = Arc<Mutex<Vec<Receipt>>>;

/// A subscriber in a thread of its own.
pub struct Subscriber {
    mode: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

/// Numbers connections over all subscribers of a run.
static NEXT_CONNECTION: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);

impl Subscriber {
    /// Connects, and logs from now on.
    pub fn connect(ports: Ports, receipts: Receipts) -> Self {
        let mode = Arc::new(AtomicU8::new(Mode::Listen as u8));
        let wanted = Arc::clone(&mode);
        let endpoint = format!("tcp://127.0.0.1:{}", ports.publish);
        let thread = std::thread::spawn(move || {
            let mode = || Mode::of(wanted.load(Ordering::Relaxed));
            run(&endpoint, &mode, &receipts).expect("a subscribe socket");
        });
        Self {
            mode,
            thread: Some(thread),
        }
    }

    /// Changes what it does; it takes a moment.
    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(2 * POLL_MS as u64));
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.mode.store(Mode::End as u8, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic was told when it happened.
            drop(thread.join());
        }
    }
}

fn run(endpoint: &str, mode: &impl Fn() -> Mode, receipts: &Receipts) -> zmq::Result<()> {
    let context = zmq::Context::new();
    let mut socket = None;
    loop {
        match mode() {
            Mode::End => return Ok(()),
            Mode::Away => socket = None,
            Mode::Stall => {}
            Mode::Listen => {
                let (socket, connection) = match &mut socket {
                    Some(open) => open,
                    closed => closed.insert(subscribe(&context, endpoint)?),
                };
                match socket.recv_multipart(0) {
                    Ok(frames) => lock(receipts).push(receipt(*connection, &frames)),
                    Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => {}
                    Err(error) => return Err(error),
                }
                continue;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(POLL_MS as u64));
    }
}

fn subscribe(context: &zmq::Context, endpoint: &str) -> zmq::Result<(zmq::Socket, u32)> {
    let socket = context.socket(zmq::SUB)?;
    socket.set_rcvtimeo(POLL_MS)?;
    socket.set_reconnect_ivl(50)?;
    socket.set_subscribe(b"")?;
    socket.connect(endpoint)?;
    Ok((socket, NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed)))
}

fn receipt(connection: u32, frames: &[Vec<u8>]) -> Receipt {
    let (body, binary) = frames
        .split_first()
        .map_or((&[][..], &[][..]), |(body, rest)| (body.as_slice(), rest));
    let hashes: Vec<String> = binary.iter().map(|frame| sha256(frame)).collect();
    Receipt {
        subscriber: connection,
        at_ms: now_ms(),
        fingerprint: fingerprint(body, hashes.iter().map(String::as_str)),
        facts: EventFacts::read(body),
    }
}

/// The log, also after a subscriber has panicked.
pub fn lock(receipts: &Receipts) -> MutexGuard<'_, Vec<Receipt>> {
    receipts.lock().unwrap_or_else(PoisonError::into_inner)
}

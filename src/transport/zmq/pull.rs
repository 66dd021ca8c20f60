//! The socket that takes requests, and its thread.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

#[cfg(test)]
use super::connections::Connections;
use super::connections::{Limits, MAX_HEADER_BYTES};
use super::{
    TransportError, WakeReceiver, Waker, WatchedSocket, connection_of, harden, uninterrupted, wait,
};

const SOCKET: &str = "intake";

/// Settings of the intake socket.
#[derive(Debug, Clone)]
pub struct IntakeOptions {
    /// Where to bind, as `tcp://0.0.0.0:5555`; port 0 or `*` takes a free one.
    pub endpoint: String,
    /// Largest message, all frames together. A larger frame, or frames without end, cost the peer its
    /// connection.
    pub max_message_bytes: usize,
    /// Most frames of a message.
    pub max_frames: usize,
    /// Connections at once; beyond it the oldest is closed that has never completed a message.
    pub max_connections: usize,
    /// Messages that libzmq holds for each peer. Few: what it holds is lost with the process.
    pub receive_queue_length: i32,
    /// What the kernel takes from a peer before libzmq has read it, bytes; it sets the pace of a distant
    /// peer, and is lost with the process likewise.
    pub receive_buffer_bytes: i32,
}

impl Default for IntakeOptions {
    fn default() -> Self {
        Self {
            endpoint: "tcp://127.0.0.1:5555".into(),
            max_message_bytes: 64 << 20,
            max_frames: 16,
            max_connections: 1024,
            receive_queue_length: 4,
            receive_buffer_bytes: 32 << 10,
        }
    }
}

/// What a peer has sent.
pub enum Incoming {
    /// A message, frame by frame; there is at least one.
    Message(Vec<Bytes>),
    /// A message beyond the limits, of which only the first frame was kept (for the ids of an
    /// answer), and that only if it keeps to the limit by itself.
    TooLarge {
        /// The JSON frame.
        head: Option<Bytes>,
        /// Frames that came.
        frames: usize,
        /// Bytes that came.
        bytes: usize,
    },
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(frames) => f
                .debug_struct("Message")
                .field(
                    "frame_bytes",
                    &frames.iter().map(Bytes::len).collect::<Vec<_>>(),
                )
                .finish(),
            Self::TooLarge { frames, bytes, .. } => f
                .debug_struct("TooLarge")
                .field("frames", frames)
                .field("bytes", bytes)
                .finish_non_exhaustive(),
        }
    }
}

/// How often a paused thread looks whether it may go on, or is to stop.
const PAUSE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Messages that one call of the handler may get; with [`MAX_BATCH_BYTES`] it bounds what is in
/// memory and not yet durable.
const MAX_BATCH: usize = 64;
const MAX_BATCH_BYTES: usize = 64 << 10;

/// What a peer may send in one segment: as much as any Ethernet carries. On the loopback interface, where
/// it is 64 KiB otherwise, a sender's kernel keeps megabytes that were sent and have not arrived, because
/// it plans in segments; they are lost with the connection.
const MAX_SEGMENT_BYTES: i32 = 1_460;

/// Time for taking what has arrived already when the socket is to be closed.
const LAST_CALL: Duration = Duration::from_secs(1);
/// Silence after which nothing more is expected then.
const QUIET_MS: i64 = 50;

/// What libzmq may have read of a connection beside its messages: its buffer, and the handshake.
const READ_AHEAD_BYTES: u64 = 64 << 10;

/// The bound socket; peers may connect, and nothing is received before [`Intake::start`].
pub struct IntakeSocket {
    socket: WatchedSocket,
    max_message_bytes: usize,
    max_frames: usize,
    waker: Arc<Waker>,
    calls: WakeReceiver,
}

impl IntakeSocket {
    /// Binds the socket.
    ///
    /// # Errors
    /// The endpoint cannot be bound, or the system refuses a thread or a descriptor.
    pub fn bind(options: &IntakeOptions) -> Result<Self, TransportError> {
        let (waker, calls) = Waker::pair().map_err(start_failed)?;
        let waker = Arc::new(waker);
        let configure = |socket: &mut zmq::Socket| {
            harden(socket, options.max_message_bytes)?;
            socket.set_rcvbuf(options.receive_buffer_bytes)?;
            socket.set_rcvhwm(options.receive_queue_length.max(1))?;
            socket.set_linger(0)
        };
        let settle = Some(Arc::clone(&waker));
        let socket = WatchedSocket::bind(
            SOCKET,
            zmq::PULL,
            configure,
            &options.endpoint,
            Some(MAX_SEGMENT_BYTES),
            limits(options),
            settle,
        )?;
        Ok(Self {
            socket,
            max_message_bytes: options.max_message_bytes,
            max_frames: options.max_frames,
            waker,
            calls,
        })
    }

    /// Where the socket is bound, with its real port.
    pub fn endpoint(&self) -> &str {
        &self.socket.endpoint
    }

    #[cfg(test)]
    pub(super) fn connections(&self) -> &Connections {
        &self.socket.connections
    }
}

/// What a connection may have sent that was not received.
fn limits(options: &IntakeOptions) -> Limits {
    let headers = MAX_HEADER_BYTES * options.max_frames as u64;
    let unfinished_bytes = options.max_message_bytes as u64 + headers + READ_AHEAD_BYTES;
    // A full queue, a frame behind it that found it full, and a message that was just taken.
    let messages = u64::try_from(options.receive_queue_length.max(1)).unwrap_or(1) + 2;
    Limits {
        unfinished_bytes,
        waiting_bytes: unfinished_bytes.saturating_mul(messages),
        max_connections: options.max_connections,
    }
}

fn start_failed(source: io::Error) -> TransportError {
    TransportError::Start {
        socket: SOCKET,
        source,
    }
}

/// The thread `intake-0`, which owns the socket and does nothing but receive.
pub struct Intake {
    endpoint: String,
    stopping: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Intake {
    /// Starts the thread.
    ///
    /// While `is_paused` says so nothing is received, and the peers' queues push back. `handle` gets what
    /// has arrived since it returned last, at least one message; while it runs nothing is received either.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn start(
        socket: IntakeSocket,
        is_paused: impl Fn() -> bool + Send + 'static,
        handle: impl FnMut(Vec<Incoming>) + Send + 'static,
    ) -> Result<Self, TransportError> {
        let endpoint = socket.endpoint().to_owned();
        let stopping = Arc::new(AtomicBool::new(false));
        let receiver = Receiver {
            socket: socket.socket,
            max_message_bytes: socket.max_message_bytes,
            max_frames: socket.max_frames,
            calls: socket.calls,
            stopping: Arc::clone(&stopping),
        };
        let thread = std::thread::Builder::new()
            .name("intake-0".into())
            .spawn(move || receiver.run(is_paused, handle))
            .map_err(start_failed)?;
        Ok(Self {
            endpoint,
            stopping,
            waker: socket.waker,
            thread: Some(thread),
        })
    }

    /// Where the socket is bound, with its real port.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// False when the thread has ended by itself, which only a panic makes it do.
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Closes the socket. What has arrived is handled first; it blocks that long.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the intake thread panicked");
        }
    }
}

struct Receiver {
    socket: WatchedSocket,
    max_message_bytes: usize,
    max_frames: usize,
    calls: WakeReceiver,
    stopping: Arc<AtomicBool>,
}

impl Receiver {
    fn run(mut self, is_paused: impl Fn() -> bool, mut handle: impl FnMut(Vec<Incoming>)) {
        while !self.stopping.load(Ordering::Acquire) {
            if is_paused() {
                std::thread::sleep(PAUSE_CHECK_INTERVAL);
                continue;
            }
            let is_doubtful = self.socket.connections.is_doubtful();
            match self.receive_batch() {
                Ok(batch) if batch.is_empty() && is_doubtful => self.socket.connections.settle(),
                Ok(batch) if batch.is_empty() => {}
                Ok(batch) => {
                    handle(batch);
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "the intake socket failed");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            if let Err(error) = wait(&self.socket.socket, &self.calls, None) {
                tracing::error!(%error, "the intake socket cannot be polled");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        // What libzmq holds would be lost with the socket, and its sender takes it for delivered.
        let last_call = Instant::now() + LAST_CALL;
        while Instant::now() < last_call {
            match self.receive_batch() {
                Ok(batch) if !batch.is_empty() => handle(batch),
                // libzmq holds little and takes more from the network as room is made.
                Ok(_) if self.has_more_within(QUIET_MS) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn has_more_within(&self, timeout_ms: i64) -> bool {
        let mut items = [self.socket.socket.as_poll_item(zmq::POLLIN)];
        zmq::poll(&mut items, timeout_ms).is_ok_and(|ready| ready > 0)
    }

    /// Takes what is there, without waiting.
    fn receive_batch(&mut self) -> Result<Vec<Incoming>, zmq::Error> {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        while batch.len() < MAX_BATCH && batch_bytes < MAX_BATCH_BYTES {
            match self.receive() {
                Ok((incoming, bytes)) => {
                    batch_bytes += bytes;
                    batch.push(incoming);
                }
                Err(zmq::Error::EAGAIN) => break,
                Err(error) if batch.is_empty() => return Err(error),
                // The socket will say so again.
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    /// Takes one message and its size in bytes. libzmq hands over the frames of a message together,
    /// so only the first can be missing.
    fn receive(&mut self) -> Result<(Incoming, usize), zmq::Error> {
        let mut frames = Vec::new();
        let mut size = Size::default();
        let mut message = zmq::Message::new();
        loop {
            uninterrupted(|| self.socket.socket.recv(&mut message, zmq::DONTWAIT))?;
            size.add(message.len());
            if size.frames > self.max_frames || size.bytes > self.max_message_bytes {
                frames.truncate(1);
                self.skip_rest(&mut message, &mut size)?;
                break;
            }
            frames.push(Bytes::copy_from_slice(&message));
            if !message.get_more() {
                break;
            }
        }
        if let Some(descriptor) = connection_of(&mut message) {
            self.socket.connections.deliver(descriptor, size.wire_bytes);
        }
        let incoming = if frames.len() == size.frames {
            Incoming::Message(frames)
        } else {
            Incoming::TooLarge {
                head: frames.pop(),
                frames: size.frames,
                bytes: size.bytes,
            }
        };
        Ok((incoming, size.bytes))
    }

    /// Reads a message to its end and keeps nothing of it. Nobody else is heard meanwhile, and it may have
    /// millions of frames.
    fn skip_rest(&self, message: &mut zmq::Message, size: &mut Size) -> Result<(), zmq::Error> {
        let socket = &self.socket.socket;
        while message.get_more() {
            uninterrupted(|| socket.recv(message, zmq::DONTWAIT))?;
            size.add(message.len());
        }
        Ok(())
    }
}

/// How large a message is.
#[derive(Default)]
struct Size {
    frames: usize,
    bytes: usize,
    wire_bytes: u64,
}

impl Size {
    fn add(&mut self, frame_bytes: usize) {
        let header_bytes = if frame_bytes < 256 {
            2
        } else {
            MAX_HEADER_BYTES
        };
        self.frames += 1;
        self.bytes += frame_bytes;
        self.wire_bytes += header_bytes + frame_bytes as u64;
    }
}

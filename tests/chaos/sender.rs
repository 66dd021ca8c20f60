//! The gateway's PUSH socket, and the log of what went into it.

use std::time::Instant;

use crate::checker::evidence::Sent;
use crate::load::Message;
use crate::support::now_ms;
use crate::support::tests_daemon::Ports;

/// Time that the gateway gives one push.
const SEND_TIMEOUT_MS: i32 = 5_000;

/// A connected PUSH socket.
pub struct Sender {
    socket: zmq::Socket,
    log: Vec<Sent>,
    kept: Vec<Message>,
}

impl Sender {
    /// Connects; the daemon need not be there yet.
    pub fn connect(ports: Ports) -> Self {
        let connect = || -> zmq::Result<zmq::Socket> {
            let socket = zmq::Context::new().socket(zmq::PUSH)?;
            socket.set_sndtimeo(SEND_TIMEOUT_MS)?;
            socket.set_linger(0)?;
            // Soon after a daemon is back it is found.
            socket.set_reconnect_ivl(50)?;
            socket.connect(&format!("tcp://127.0.0.1:{}", ports.pull))?;
            Ok(socket)
        };
        Self {
            socket: connect().expect("a push socket"),
            log: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Pushes a message, and tries again while the daemon takes none; what libzmq has taken counts as pushed.
    pub fn push(&mut self, message: &Message) {
        let until = Instant::now() + crate::support::PATIENCE;
        while !self.try_push(message) {
            assert!(Instant::now() < until, "nobody takes {}", message.task_id);
        }
    }

    /// Pushes a message once; false when there was no room for it in time.
    pub fn try_push(&mut self, message: &Message) -> bool {
        self.send(message, 0)
    }

    fn send(&mut self, message: &Message, flags: i32) -> bool {
        let at_ms = now_ms();
        match self.socket.send_multipart(&message.frames, flags) {
            Ok(()) => {}
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return false,
            Err(error) => panic!("the push socket failed: {error}"),
        }
        self.log.push(Sent {
            task_id: message.task_id.clone(),
            ending: message.ending.clone(),
            at_ms,
        });
        true
    }

    /// Pushes a message if there is room for it now, else keeps it for [`push_kept`](Self::push_kept).
    pub fn push_or_keep(&mut self, message: Message) {
        if !self.send(&message, zmq::DONTWAIT) {
            self.kept.push(message);
        }
    }

    /// Pushes what was kept.
    pub fn push_kept(&mut self) {
        for message in std::mem::take(&mut self.kept) {
            self.push(&message);
        }
    }

    /// What was pushed.
    pub fn log(&self) -> &[Sent] {
        &self.log
    }
}

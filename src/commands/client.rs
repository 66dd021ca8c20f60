//! The sockets of a client, on the pure-Rust `zeromq` crate: the daemon's own sockets are libzmq's,
//! so every submission is a test of the wire between two implementations.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeromq::{
    PushSocket, Socket as _, SocketRecv as _, SocketSend as _, SubSocket, ZmqError, ZmqMessage,
};

use super::{CommandError, request};

/// Time for a daemon to accept both connections and to answer a ping.
const PATIENCE: Duration = Duration::from_secs(10);

/// A subscription takes a moment to arrive, and what is published before is lost: pings are repeated.
const PING_INTERVAL: Duration = Duration::from_millis(200);

/// Pause after a failed read; the socket connects again by itself.
const READ_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Where a daemon is.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) pull_port: u16,
    pub(super) pub_port: u16,
}

/// A connected client that hears every event.
pub(super) struct Client {
    push: PushSocket,
    subscription: SubSocket,
}

impl Client {
    /// Connects and subscribes; returns when events really arrive, which the answer to a ping shows.
    pub(super) async fn connect(address: &Address) -> Result<Self, CommandError> {
        let Address {
            host,
            pull_port,
            pub_port,
        } = address;
        let nobody = || CommandError::NoDaemon {
            host: host.clone(),
            pull_port: *pull_port,
            pub_port: *pub_port,
        };
        let deadline = Instant::now() + PATIENCE;
        let connect = async {
            let mut subscription = SubSocket::new();
            subscription
                .connect(&format!("tcp://{host}:{pub_port}"))
                .await?;
            subscription.subscribe("").await?;
            let mut push = PushSocket::new();
            push.connect(&format!("tcp://{host}:{pull_port}")).await?;
            Ok::<_, ZmqError>(Self { push, subscription })
        };
        let mut client = timeout_at(deadline, connect)
            .await
            .map_err(|_| nobody())??;
        while Instant::now() < deadline {
            client.send(request::ping()).await?;
            if timeout(PING_INTERVAL, client.pong()).await.is_ok() {
                return Ok(client);
            }
        }
        Err(nobody())
    }

    /// Sends one message.
    pub(super) async fn send(&mut self, frames: Vec<Bytes>) -> Result<(), CommandError> {
        let mut frames = frames.into_iter();
        let mut message = ZmqMessage::from(frames.next().unwrap_or_default());
        frames.for_each(|frame| message.push_back(frame));
        Ok(self.push.send(message).await?)
    }

    /// The next message, whoever it is for. Waits for the daemon to come back when it goes away.
    pub(super) async fn receive(&mut self) -> Vec<Bytes> {
        loop {
            match self.subscription.recv().await {
                Ok(message) => return message.into_vec(),
                Err(_) => sleep(READ_RETRY_PAUSE).await,
            }
        }
    }

    async fn pong(&mut self) {
        loop {
            let frames = self.receive().await;
            let event: Option<serde_json::Value> = frames
                .first()
                .and_then(|json| serde_json::from_slice(json).ok());
            if event.is_some_and(|event| event["type"] == "pong") {
                return;
            }
        }
    }
}

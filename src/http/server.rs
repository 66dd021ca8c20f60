//! The connections: how many, and how long they may take.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::net::{SendFlags, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Time for the head of a request, and so for the pause between two requests of a connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Time in which a client has to take something of what is sent to it.
const SEND_PATIENCE: Duration = Duration::from_secs(60);
/// Pause after a connection that could not be taken, as when descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is said to one connection too many. It is short enough to be sent at once.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\ncontent-length: 33\r\nretry-after: 5\r\nconnection: close\r\n\r\n\
    {\"detail\":\"Too many connections\"}";

/// Answers connections until `stop` completes, then lets those end that are at work.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: usize,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE);
    let places = Arc::new(Semaphore::new(max_connections));
    let at_work = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "http: a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refuse(&stream);
            continue;
        };
        prepare(&stream);
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = at_work.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            // Clients leave in many ways; that is no news.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "http: a connection broke");
            }
        });
    }
    at_work.shutdown().await;
}

/// Makes a connection quick, and ends it when its client takes nothing.
fn prepare(stream: &TcpStream) {
    let patience = u32::try_from(SEND_PATIENCE.as_millis()).unwrap_or(u32::MAX);
    let prepared = stream.set_nodelay(true).and_then(|()| {
        sockopt::set_tcp_user_timeout(stream, patience)?;
        Ok(())
    });
    if let Err(error) = prepared {
        tracing::debug!(%error, "http: options of a connection could not be set");
    }
}

/// Nothing waits for a client that does not even take this.
fn refuse(stream: &TcpStream) {
    if let Err(error) = rustix::net::send(stream, TOO_MANY, SendFlags::NOSIGNAL) {
        tracing::debug!(%error, "http: a connection too many could not be told");
    }
}

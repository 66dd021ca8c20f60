//! A TCP proxy that can cut, stall and delay what goes through it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often connections look at what they are to do.
const TICK: Duration = Duration::from_millis(20);

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// They pass.
    Open,
    /// Every piece of them is held up for so long, and passes.
    Slow(Duration),
    /// Connections are closed, and new ones at once.
    Cut,
    /// Connections stay, and nothing passes.
    Stalled,
}

/// A proxy on a port of its own.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    link: Mutex<Link>,
    stopping: AtomicBool,
}

impl Shared {
    fn link(&self) -> Link {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl Proxy {
    /// Starts one before a server.
    pub fn start(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            link: Mutex::new(Link::Open),
            stopping: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, server, &accepting));
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what becomes of the bytes, of open connections too.
    pub fn set(&self, link: Link) {
        *self
            .shared
            .link
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = link;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic was told when it happened.
            drop(thread.join());
        }
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    while !shared.is_stopping() {
        connections.retain(|connection: &JoinHandle<()>| !connection.is_finished());
        match listener.accept() {
            // Dropped at once: the client sees a closed connection.
            Ok(_) if shared.link() == Link::Cut => {}
            Ok((client, _)) => connections.extend(connect(client, server, shared)),
            Err(_) => std::thread::sleep(TICK),
        }
    }
    for connection in connections {
        drop(connection.join());
    }
}

/// A thread for each direction; none when the server is not there.
fn connect(client: TcpStream, server: SocketAddr, shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let pair = || -> std::io::Result<[(TcpStream, TcpStream); 2]> {
        let server = TcpStream::connect(server)?;
        // On Linux a new socket does not inherit this; other systems do.
        client.set_nonblocking(false)?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(TICK))?;
            stream.set_nodelay(true)?;
        }
        let there = (client.try_clone()?, server.try_clone()?);
        Ok([there, (server, client)])
    };
    let Ok(pair) = pair() else {
        return Vec::new();
    };
    pair.into_iter()
        .map(|(from, to)| {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || {
                // However it ends, both ends learn of it.
                drop(copy(&from, &to, &shared));
                drop(from.shutdown(Shutdown::Both));
                drop(to.shutdown(Shutdown::Both));
            })
        })
        .collect()
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    while !shared.is_stopping() {
        let delay = match shared.link() {
            Link::Open => Duration::ZERO,
            Link::Slow(delay) => delay,
            Link::Cut => return Ok(()),
            Link::Stalled => {
                std::thread::sleep(TICK);
                continue;
            }
        };
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        std::thread::sleep(delay);
        to.write_all(&buffer[..count])?;
    }
    Ok(())
}

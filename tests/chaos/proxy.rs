//! A TCP proxy that can cut, stall and delay what goes through it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often connections look at what they are to do.
const TICK: Duration = Duration::from_millis(20);

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Link {
    /// They pass.
    Open,
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
    link: AtomicU8,
    delay_ms: AtomicU64,
    stopping: AtomicBool,
}

impl Shared {
    fn link(&self) -> Link {
        match self.link.load(Ordering::Relaxed) {
            0 => Link::Open,
            1 => Link::Cut,
            _ => Link::Stalled,
        }
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
            link: AtomicU8::new(Link::Open as u8),
            delay_ms: AtomicU64::new(0),
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
        self.shared.link.store(link as u8, Ordering::Relaxed);
    }

    /// Holds every piece up for so long.
    pub fn delay(&self, delay: Duration) {
        let delay_ms = delay.as_millis() as u64;
        self.shared.delay_ms.store(delay_ms, Ordering::Relaxed);
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
        match shared.link() {
            Link::Open => {}
            Link::Cut => return Ok(()),
            Link::Stalled => {
                std::thread::sleep(TICK);
                continue;
            }
        }
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let delay_ms = shared.delay_ms.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(delay_ms));
        to.write_all(&buffer[..count])?;
    }
    Ok(())
}

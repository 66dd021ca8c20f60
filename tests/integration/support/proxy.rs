//! A TCP proxy that can cut, stall and delay what goes through it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They go through.
    Fair,
    /// Every chunk waits so long before it goes on.
    Slow(Duration),
    /// They are accepted, and nothing goes through: a black hole.
    Stalled,
    /// They are closed, those that are open and those that come.
    Cut,
}

/// How often a pump that waits looks at the weather.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The proxy; dropped, it cuts everything.
pub struct Proxy {
    port: u16,
    weather: Arc<Mutex<Weather>>,
}

impl Proxy {
    /// Starts one in front of a server on this machine.
    pub fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = Arc::new(Mutex::new(Weather::Fair));
        let shared = Arc::clone(&weather);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                connect(client, server_port, &shared);
            }
        });
        Self { port, weather }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on, what becomes of connections.
    pub fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Weather::Cut);
    }
}

fn connect(client: TcpStream, server_port: u16, weather: &Arc<Mutex<Weather>>) {
    if *weather.lock().unwrap() == Weather::Cut {
        return;
    }
    // A server that is away closes the connection, as without a proxy.
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)) else {
        return;
    };
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        from.set_read_timeout(Some(LOOK_INTERVAL)).unwrap();
        let weather = Arc::clone(weather);
        std::thread::spawn(move || pump(from, to, &weather));
    }
}

/// Carries bytes one way until either end closes or everything is cut.
fn pump(mut from: TcpStream, mut to: TcpStream, weather: &Mutex<Weather>) {
    let mut chunk = vec![0; 1 << 16];
    loop {
        let now = *weather.lock().unwrap();
        match now {
            Weather::Cut => break,
            Weather::Stalled => {
                std::thread::sleep(LOOK_INTERVAL);
                continue;
            }
            Weather::Fair | Weather::Slow(_) => {}
        }
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => {
                if let Weather::Slow(delay) = now {
                    std::thread::sleep(delay);
                }
                if to.write_all(&chunk[..length]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    // Either end may be closed already.
    drop(from.shutdown(std::net::Shutdown::Both));
    drop(to.shutdown(std::net::Shutdown::Both));
}

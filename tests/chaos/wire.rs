//! Peers that break the rules of ZMTP, beside one that keeps them. Only ever against 127.0.0.1.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Setting, latency};
use crate::dice::Dice;
use crate::load::{Load, Message};
use crate::report::{Percentiles, Row};
use crate::scale::Scale;
use crate::subscriber::lock;
use crate::support::now_ms;
use crate::support::tests_daemon::Ports;
use crate::support::zmtp::{self, COMMAND, greeting};

/// The honest peer's p99 under attack, as a multiple of that without.
const MAX_SLOWDOWN: f64 = 2.0;

/// Resident memory under attack, as a multiple of that without; what is bounded in bytes comes on top.
const MAX_MEMORY_GROWTH: f64 = 1.3;

/// What peers can make the daemon hold by its limits, MiB; see `docs/adr/0019-unfinished-messages.md`: unfinished
/// messages of all connections to the intake, twice `zmq.max_message_bytes`; what arrives between two looks; a
/// message of a million parts on each port, 64 bytes for each; and twice 256 KiB of subscriptions, in 200
/// times their bytes.
const HELD_MIB: u64 = 2 * 64 + 150 + 2 * 64 + 2 * 200 / 4;

/// Pause between the texts of the honest peer.
const HONEST_INTERVAL: Duration = Duration::from_millis(100);

/// Frame lengths that no machine has memory for.
const GIANT_BYTES: [u64; 4] = [1 << 36, 1 << 40, 1 << 62, 1 << 63];

/// How long a silent peer stays; libzmq gives a handshake ten seconds.
const SILENCE: Duration = Duration::from_secs(9);

/// Longest wait of an attacker for the network.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(2);

const MORE: u8 = 1;
const LONG: u8 = 2;

/// All attacks at once while an honest peer goes on, which must hardly notice.
pub fn attacks(seed: u64, scale: Scale) -> Row {
    let time = Duration::from_secs(scale.choose(600, 5));
    let calm = Duration::from_secs(scale.choose(60, 3));
    let mut bench = Bench::start("wire-attacks", seed, Setting::default());
    let mut load = Load::new(seed);
    bench.progress.tell("the honest peer alone");
    let alone = honest(&mut bench, &mut load, calm);
    let attackers = Attackers::start(bench.daemon.ports, seed, scale);
    let attacked = honest(&mut bench, &mut load, time);
    let attacks = attackers.stop();
    bench.row.notes.push(format!(
        "honest peer: p50 {} ms, p99 {} ms alone ({} texts); p50 {} ms, p99 {} ms under attack ({} texts)",
        alone.p50, alone.p99, alone.count, attacked.p50, attacked.p99, attacked.count
    ));
    for (socket, name, count) in attacks {
        bench.row.notes.push(format!("{socket}: {count} {name}"));
        if count == 0 {
            bench.row.blame(format!("{socket}: there were no {name}"));
        }
    }
    bench.row.require_where(
        scale.judges_time(),
        "honest peer's p99 under attack, times that without",
        attacked.p99 as f64 / alone.p99.max(1) as f64,
        MAX_SLOWDOWN,
    );
    bench.settle();
    let mut row = bench.finish();
    row.require(
        "honest requests never accepted",
        row.counts.never_accepted as f64,
        0.0,
    );
    row.require(
        "resident memory at its peak, MiB",
        row.rss_peak_mib as f64,
        (row.rss_idle_mib as f64 * MAX_MEMORY_GROWTH).round() + HELD_MIB as f64,
    );
    row
}

/// Sends texts evenly for a time and gives how long they took.
fn honest(bench: &mut Bench, load: &mut Load, time: Duration) -> Percentiles {
    let from_ms = now_ms();
    let count = (time.as_secs_f64() / HONEST_INTERVAL.as_secs_f64()) as usize;
    let mut messages: Vec<Message> = Vec::with_capacity(count);
    let began = Instant::now();
    while began.elapsed() < time {
        let message = load.text(1);
        bench.sender.push(&message);
        messages.push(message);
        bench
            .progress
            .tell(format_args!("{} honest texts", messages.len()));
        let due = HONEST_INTERVAL * messages.len() as u32;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    bench.wait_answered(&messages);
    let sent: Vec<_> = bench
        .sender
        .log()
        .iter()
        .filter(|sent| sent.at_ms >= from_ms)
        .cloned()
        .collect();
    latency(&sent, &lock(&bench.receipts), |_| true)
}

/// A port of the daemon, and how the peers speak that it expects.
#[derive(Clone, Copy)]
struct Target {
    socket: &'static str,
    port: u16,
    /// Of the peers.
    socket_type: &'static str,
    /// Frames that are as large as this are read.
    frame_bytes: usize,
}

impl Target {
    fn all(ports: Ports) -> [Self; 2] {
        [
            Self {
                socket: "intake",
                port: ports.pull,
                socket_type: "PUSH",
                frame_bytes: 1 << 20,
            },
            Self {
                socket: "publish",
                port: ports.publish,
                socket_type: "SUB",
                frame_bytes: 4_000,
            },
        ]
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(NETWORK_TIMEOUT))?;
        stream.set_write_timeout(Some(NETWORK_TIMEOUT))?;
        Ok(stream)
    }

    /// A connection whose handshake is done.
    fn ready(&self) -> std::io::Result<TcpStream> {
        let mut stream = self.connect()?;
        zmtp::shake_hands(&mut stream, self.socket_type)?;
        Ok(stream)
    }

    fn open(&self, from: Stage) -> std::io::Result<TcpStream> {
        match from {
            Stage::Connected => self.connect(),
            Stage::Ready => self.ready(),
        }
    }
}

/// Where an attack begins.
#[derive(Clone, Copy)]
enum Stage {
    Connected,
    Ready,
}

/// What an attacker does on one connection after another.
struct Attack {
    name: &'static str,
    from: Stage,
    /// Once, on a connection that has come so far; it may fail as it likes.
    run: fn(TcpStream, Target, &mut Dice, &Stop) -> std::io::Result<()>,
    /// Between two connections: it is to be a nuisance to the daemon, not to the machine that both run on.
    pause: Duration,
}

const ATTACKS: [Attack; 7] = [
    Attack {
        name: "giant frames before the handshake",
        from: Stage::Connected,
        run: giant_before_ready,
        pause: Duration::from_millis(50),
    },
    Attack {
        name: "giant frames after it",
        from: Stage::Ready,
        run: giant_after_ready,
        pause: Duration::from_millis(50),
    },
    Attack {
        name: "messages of a million parts",
        from: Stage::Ready,
        run: many_parts,
        pause: Duration::from_secs(60),
    },
    Attack {
        name: "messages without an end",
        from: Stage::Ready,
        run: endless_message,
        pause: Duration::from_secs(60),
    },
    Attack {
        name: "slow greetings",
        from: Stage::Connected,
        run: slow_loris,
        pause: Duration::from_millis(50),
    },
    Attack {
        name: "connections of random bytes",
        from: Stage::Connected,
        run: random_bytes,
        pause: Duration::from_millis(20),
    },
    Attack {
        name: "handshakes before random bytes",
        from: Stage::Ready,
        run: random_bytes,
        pause: Duration::from_millis(20),
    },
];

/// Peers that connect, or shake hands, and say no more.
const SILENT: [(&str, Stage); 2] = [
    ("silent peers", Stage::Connected),
    ("idle peers", Stage::Ready),
];

/// Threads that attack until they are stopped.
struct Attackers {
    stop: Stop,
    threads: Vec<Attacker>,
}

struct Attacker {
    socket: &'static str,
    name: &'static str,
    count: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

type Stop = Arc<AtomicBool>;

impl Attackers {
    fn start(ports: Ports, seed: u64, scale: Scale) -> Self {
        let mut attackers = Self {
            stop: Stop::default(),
            threads: Vec::new(),
        };
        for target in Target::all(ports) {
            for attack in ATTACKS {
                let mut dice = Dice::new(seed, &format!("{} {}", attack.name, target.socket));
                attackers.add(target, attack.name, move |stop| {
                    let opened = target.open(attack.from);
                    let count = u64::from(opened.is_ok());
                    // A daemon that closes the connection defends itself: that is no error of ours.
                    drop(opened.and_then(|stream| (attack.run)(stream, target, &mut dice, stop)));
                    sleep(attack.pause, stop);
                    count
                });
            }
            let peers = scale.choose(250, 50);
            for (name, from) in SILENT {
                attackers.add(target, name, move |stop| {
                    let open = |_| target.open(from).ok();
                    let silent: Vec<TcpStream> = (0..peers).filter_map(open).collect();
                    sleep(SILENCE, stop);
                    silent.len() as u64
                });
            }
        }
        attackers
    }

    /// Adds a thread that does something again and again, and counts it.
    fn add(
        &mut self,
        target: Target,
        name: &'static str,
        mut once: impl FnMut(&Stop) -> u64 + Send + 'static,
    ) {
        let count = Arc::new(AtomicU64::new(0));
        let (counted, stop) = (Arc::clone(&count), Arc::clone(&self.stop));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                counted.fetch_add(once(&stop), Ordering::Relaxed);
            }
        });
        self.threads.push(Attacker {
            socket: target.socket,
            name,
            count,
            thread,
        });
    }

    /// Gives socket and name of each attack, and how often it came as far as it was to.
    fn stop(self) -> Vec<(&'static str, &'static str, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|attacker| {
            // A panic in it was told when it happened.
            drop(attacker.thread.join());
            let count = attacker.count.load(Ordering::Relaxed);
            (attacker.socket, attacker.name, count)
        });
        ended.collect()
    }
}

/// Sleeps, but wakes up soon when all is to stop.
fn sleep(time: Duration, stop: &Stop) {
    let until = Instant::now() + time;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

fn giant_header(dice: &mut Dice, flags: u8) -> Vec<u8> {
    let mut header = vec![LONG | flags];
    header.extend(dice.pick(&GIANT_BYTES).to_be_bytes());
    header
}

fn giant_before_ready(
    mut stream: TcpStream,
    _: Target,
    dice: &mut Dice,
    _: &Stop,
) -> std::io::Result<()> {
    stream.write_all(&greeting())?;
    stream.write_all(&giant_header(dice, COMMAND))?;
    stream.write_all(&dice.bytes(1_000))?;
    wait_closed(stream)
}

fn giant_after_ready(
    mut stream: TcpStream,
    _: Target,
    dice: &mut Dice,
    _: &Stop,
) -> std::io::Result<()> {
    let flags = *dice.pick(&[0, MORE]);
    stream.write_all(&giant_header(dice, flags))?;
    stream.write_all(&dice.bytes(1_000))?;
    wait_closed(stream)
}

/// A message of a million parts, which ends, or is left without an end.
fn many_parts(
    mut stream: TcpStream,
    _: Target,
    dice: &mut Dice,
    stop: &Stop,
) -> std::io::Result<()> {
    const PARTS: usize = 1_000_000;
    const PIECE: usize = 10_000;
    let parts = [MORE, 1, b'x'].repeat(PIECE);
    for _ in 0..PARTS / PIECE {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        stream.write_all(&parts)?;
    }
    if dice.chance(50) {
        stream.write_all(&[0, 1, b'x'])?;
    }
    wait_closed(stream)
}

/// Frames that are each allowed, of one message that is far larger than any may be, and that goes on for as long
/// as somebody takes it.
fn endless_message(
    mut stream: TcpStream,
    target: Target,
    dice: &mut Dice,
    stop: &Stop,
) -> std::io::Result<()> {
    const BYTES: usize = 1 << 30;
    let mut frame = vec![LONG | MORE];
    frame.extend((target.frame_bytes as u64).to_be_bytes());
    frame.extend(dice.bytes(target.frame_bytes));
    for _ in 0..BYTES / target.frame_bytes {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&frame)?;
    }
    Ok(())
}

/// A greeting, one byte at a time.
fn slow_loris(mut stream: TcpStream, _: Target, _: &mut Dice, stop: &Stop) -> std::io::Result<()> {
    for byte in greeting() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&[byte])?;
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

fn random_bytes(
    mut stream: TcpStream,
    _: Target,
    dice: &mut Dice,
    _: &Stop,
) -> std::io::Result<()> {
    let count = 1 + dice.below(4_096);
    stream.write_all(&dice.bytes(count))
}

/// Reads until the daemon closes the connection, or for a moment.
fn wait_closed(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut rest = [0; 1_024];
    while stream.read(&mut rest)? > 0 {}
    Ok(())
}

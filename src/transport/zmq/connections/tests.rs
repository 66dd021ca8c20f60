//! Peers that speak ZMTP by hand, some of them without ever finishing a message.

#[path = "../../../../tests/support/zmtp.rs"]
mod zmtp;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, sync_channel};

use super::super::{
    Incoming, Intake, IntakeOptions, IntakeSocket, PublishOptions, PublishSocket, Subscription,
};
use super::kernel::Traffic;
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Far more than anyone may send before the connection is closed: the time between two looks at the speed
/// of loopback, and a machine that is busy elsewhere for ten times as long.
const ENDLESS_BYTES: usize = 8 << 30;

/// A connection after the handshake, as `kind` (`PUSH`, `SUB`).
fn connect(endpoint: &str, kind: &str) -> TcpStream {
    let mut stream = TcpStream::connect(endpoint.trim_start_matches("tcp://")).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    zmtp::shake_hands(&mut stream, kind).unwrap();
    stream
}

fn frame(payload: &[u8], has_more: bool) -> Vec<u8> {
    let mut frame = vec![u8::from(has_more)];
    if payload.len() < 256 {
        frame.push(payload.len() as u8);
    } else {
        frame[0] |= 2;
        frame.extend((payload.len() as u64).to_be_bytes());
    }
    frame.extend(payload);
    frame
}

/// Sends the same bytes again and again until the other end closes; returns how many went.
fn send_until_closed(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < ENDLESS_BYTES {
        match stream.write(bytes) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "it is held up");
                return sent;
            }
        }
    }
    panic!("{ENDLESS_BYTES} bytes were taken");
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

struct Bench {
    intake: Intake,
    received: Receiver<Incoming>,
    is_paused: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Bench {
    fn new(max_message_bytes: usize) -> Self {
        Self::with(IntakeOptions {
            max_message_bytes,
            ..IntakeOptions::default()
        })
    }

    fn with(mut options: IntakeOptions) -> Self {
        options.endpoint = "tcp://127.0.0.1:*".into();
        let socket = IntakeSocket::bind(&options).unwrap();
        let shared = Arc::clone(&socket.connections().shared);
        let is_paused = Arc::new(AtomicBool::new(false));
        let gate = Arc::clone(&is_paused);
        let (sender, received) = sync_channel(100_000);
        let intake = Intake::start(
            socket,
            move || gate.load(Ordering::Acquire),
            move |batch| {
                for incoming in batch {
                    sender.send(incoming).unwrap();
                }
            },
        );
        Self {
            intake: intake.unwrap(),
            received,
            is_paused,
            shared,
        }
    }

    fn next_size(&self) -> usize {
        match self.received.recv_timeout(PATIENCE).unwrap() {
            Incoming::Message(frames) => frames.iter().map(bytes::Bytes::len).sum(),
            refused => panic!("{refused:?}"),
        }
    }

    fn closed(&self) -> u64 {
        self.shared.table().closed
    }

    fn await_closed(&self, count: u64) {
        let started = Instant::now();
        while self.closed() < count {
            assert!(
                started.elapsed() < PATIENCE,
                "{} were closed",
                self.closed()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the watcher knows that `bytes` of unfinished or unread messages are there.
    fn await_pending(&self, bytes: u64) {
        let started = Instant::now();
        while self.shared.table().total(Connection::pending) < bytes {
            assert!(started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_message_without_end_is_ended_and_a_peer_beside_it_loses_nothing() {
    let bench = Bench::new(MAX_MESSAGE_BYTES);
    let endpoint = bench.intake.endpoint().to_owned();
    let honest = zmq::Context::new().socket(zmq::PUSH).unwrap();
    honest.connect(&endpoint).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicUsize::new(0));
    let sender = {
        let (is_over, sent) = (Arc::clone(&is_over), Arc::clone(&sent));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Acquire) {
                honest.send(vec![7; 2_000], 0).unwrap();
                sent.fetch_add(1, Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(1));
            }
            honest
        })
    };
    let attacks = [
        frame(&[0; 60_000], true),
        frame(&[0; 1], true).repeat(10_000),
        frame(&[], true).repeat(10_000),
        frame(&[0; 200], true).repeat(100),
    ];
    for (number, attack) in (1..).zip(&attacks) {
        send_until_closed(&mut connect(&endpoint, "PUSH"), attack);
        assert_eq!(bench.closed(), number);
    }
    is_over.store(true, Ordering::Release);
    let _honest = sender.join().unwrap();
    for _ in 0..sent.load(Ordering::Acquire) {
        assert_eq!(bench.next_size(), 2_000);
    }
    assert_eq!(bench.closed(), attacks.len() as u64);
}

#[test]
fn a_slow_sender_of_the_largest_message_is_heard() {
    let bench = Bench::new(8 << 20);
    let mut slow = connect(bench.intake.endpoint(), "PUSH");
    let message = frame(&vec![7; 8 << 20], false);
    for _ in 0..3 {
        for piece in message.chunks(400_000) {
            slow.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(bench.next_size(), 8 << 20);
    }
    assert_eq!(bench.closed(), 0);
}

#[test]
fn what_was_delivered_is_not_held_against_its_sender() {
    let bench = Bench::new(MAX_MESSAGE_BYTES);
    let mut peers: Vec<_> = (0..100)
        .map(|_| connect(bench.intake.endpoint(), "PUSH"))
        .collect();
    // 100 MB from all, and 40 MB from the first, in messages of one, two and many frames.
    let message = [
        frame(&[1; 40_000], false),
        frame(b"head", true),
        frame(&[2; 60_000], false),
        frame(&[3; 1], true).repeat(14),
        frame(&[], false),
    ]
    .concat();
    for _ in 0..10 {
        for peer in &mut peers {
            peer.write_all(&message).unwrap();
        }
    }
    for _ in 0..400 {
        peers[0].write_all(&message).unwrap();
    }
    for _ in 0..3 * (1_000 + 400) {
        bench.next_size();
    }
    assert_eq!(bench.closed(), 0);
    assert!(peers.iter_mut().all(|peer| !is_closed(peer)));
}

#[test]
fn messages_that_wait_during_a_pause_are_not_held_against_their_sender() {
    let bench = Bench::new(MAX_MESSAGE_BYTES);
    bench.is_paused.store(true, Ordering::Release);
    let mut peer = connect(bench.intake.endpoint(), "PUSH");
    let sender = std::thread::spawn(move || {
        let message = frame(&vec![7; MAX_MESSAGE_BYTES], false);
        for _ in 0..30 {
            peer.write_all(&message).unwrap();
        }
        peer
    });
    // The whole queue of libzmq.
    bench.await_pending(4 << 20);
    std::thread::sleep(4 * LOOK_INTERVAL);
    bench.is_paused.store(false, Ordering::Release);
    for _ in 0..30 {
        assert_eq!(bench.next_size(), MAX_MESSAGE_BYTES);
    }
    let _peer = sender.join().unwrap();
    assert_eq!(bench.closed(), 0);
}

#[test]
fn a_pause_is_no_time_for_messages_without_end() {
    let bench = Bench::new(MAX_MESSAGE_BYTES);
    bench.is_paused.store(true, Ordering::Release);
    let mut peer = connect(bench.intake.endpoint(), "PUSH");
    send_until_closed(&mut peer, &frame(&[0; 60_000], true));
    assert_eq!(bench.closed(), 1);
}

#[test]
fn many_unfinished_messages_cost_the_oldest_its_connection() {
    let bench = Bench::new(MAX_MESSAGE_BYTES);
    let part = frame(&vec![0; MAX_MESSAGE_BYTES - 1000], true);
    let mut peers = Vec::new();
    for number in 1..=4 {
        let mut peer = connect(bench.intake.endpoint(), "PUSH");
        peer.write_all(&part).unwrap();
        peers.push(peer);
        // The third is one too many, and each later one.
        if number <= 2 {
            bench.await_pending(number * (MAX_MESSAGE_BYTES as u64 - 1000));
        } else {
            let started = Instant::now();
            while bench.closed() < number - 2 {
                assert!(started.elapsed() < PATIENCE);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    // The last two can finish.
    for peer in &mut peers[2..] {
        peer.write_all(&frame(&[0; 10], false)).unwrap();
        assert_eq!(bench.next_size(), MAX_MESSAGE_BYTES - 990);
    }
    assert!(peers[..2].iter_mut().all(is_closed));
}

#[test]
fn a_subscriber_that_sends_without_end_is_disconnected_and_others_stay() {
    let options = PublishOptions {
        endpoint: "tcp://127.0.0.1:*".into(),
        ..PublishOptions::default()
    };
    let socket = PublishSocket::bind(&options).unwrap();
    let (_waker, calls) = Waker::pair().unwrap();
    let endpoint = socket.endpoint().to_owned();
    let attacks = std::thread::spawn(move || {
        let mut number = 0_u64;
        let prefixes = (0..1000).map(|_| {
            number += 1;
            frame(&[&[1], &number.to_be_bytes()[..]].concat(), false)
        });
        for attack in [
            frame(b"x", true).repeat(10_000),
            frame(&[2; 4000], false),
            prefixes.collect::<Vec<_>>().concat(),
        ] {
            send_until_closed(&mut connect(&endpoint, "SUB"), &attack);
        }
    });
    let subscriber = zmq::Context::new().socket(zmq::SUB).unwrap();
    subscriber.set_rcvtimeo(20_000).unwrap();
    subscriber.set_subscribe(b"").unwrap();
    subscriber.connect(socket.endpoint()).unwrap();
    let mut socket = socket;
    let mut changes = Vec::new();
    while !attacks.is_finished() {
        changes.extend(socket.next_subscription().unwrap());
        socket.wait(&calls, Duration::from_millis(10)).unwrap();
    }
    attacks.join().unwrap();
    assert_eq!(changes, [Subscription::Added]);
    socket.send(&[bytes::Bytes::from("event")]).unwrap();
    assert_eq!(subscriber.recv_msg(0).unwrap().as_str(), Some("event"));
}

#[test]
fn little_of_what_a_peer_sends_is_under_way_while_nothing_is_read() {
    const MESSAGE_BYTES: usize = 20_000;
    let bench = Bench::new(MAX_MESSAGE_BYTES);
    bench.is_paused.store(true, Ordering::Release);
    let mut peer = connect(bench.intake.endpoint(), "PUSH");
    peer.set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let messages = frame(&[b'x'; MESSAGE_BYTES], false).repeat(1_000);
    let mut taken = 0;
    while taken < messages.len()
        && let Ok(count) = peer.write(&messages[taken..])
    {
        taken += count;
    }
    // Two and a half megabytes if the segments of the loopback interface are as long as they can be.
    assert!(taken < 1 << 20, "{taken} bytes are under way");
    bench.is_paused.store(false, Ordering::Release);
    for _ in 0..taken / (MESSAGE_BYTES + 9) {
        bench.received.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_connection_owes_what_was_read_and_not_delivered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (identity, peer) = kernel::identify(client.as_raw_fd()).unwrap();
    let mut connection = Connection::new(1, identity, peer);
    let now = Instant::now();
    let update = |connection: &mut Connection, received, unread| {
        connection.update(Traffic { received, unread }, now)
    };
    assert!(update(&mut connection, 50_000, 20_000));
    assert_eq!(connection.pending(), 30_000);
    assert_eq!(connection.waiting_since, Some(now));
    assert!(update(&mut connection, 50_000, 0));
    assert!(!update(&mut connection, 50_000, 0), "nothing has come");
    assert_eq!(connection.pending(), 50_000);
    // More than was sent is no credit.
    connection.delivered += 1_000_000;
    assert!(!update(&mut connection, 50_000, 0));
    assert!(update(&mut connection, 60_000, 0));
    assert_eq!(connection.pending(), 10_000);

    // Another connection with the same descriptor is not the same.
    let descriptor = client.as_raw_fd();
    let mut spare = kernel::Spare::new().unwrap();
    kernel::traffic(descriptor, identity).unwrap();
    spare.hold(descriptor, identity).unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let file = tempfile::tempfile().unwrap();
    for wrong in [other.as_raw_fd(), file.as_raw_fd()] {
        assert!(kernel::is_gone(
            &kernel::traffic(wrong, identity).unwrap_err()
        ));
        assert!(kernel::is_gone(&spare.hold(wrong, identity).err().unwrap()));
    }
    kernel::traffic(-1, identity).unwrap_err();
    // The other end sees it at once: the spare descriptor holds nothing back.
    let (mut accepted, _) = listener.accept().unwrap();
    spare.hold(descriptor, identity).unwrap().reset().unwrap();
    drop(client);
    assert!(accepted.write_all(&[0]).is_err());
}

#[test]
fn silent_peers_make_room_for_others_and_those_who_have_sent_stay() {
    const MAX_CONNECTIONS: usize = 20;
    let bench = Bench::with(IntakeOptions {
        max_message_bytes: MAX_MESSAGE_BYTES,
        max_connections: MAX_CONNECTIONS,
        ..IntakeOptions::default()
    });
    let endpoint = bench.intake.endpoint().to_owned();
    let message = frame(&[7; 2_000], false);
    let mut honest = connect(&endpoint, "PUSH");
    honest.write_all(&message).unwrap();
    assert_eq!(bench.next_size(), 2_000);

    let mut silent: Vec<_> = (0..300).map(|_| connect(&endpoint, "PUSH")).collect();
    bench.await_closed(300 + 1 - MAX_CONNECTIONS as u64);
    assert_eq!(bench.shared.table().open().count(), MAX_CONNECTIONS);
    let mut oldest = silent.iter_mut().take(300 + 1 - MAX_CONNECTIONS);
    assert!(oldest.all(is_closed));
    let mut newest = silent.iter_mut().rev().take(MAX_CONNECTIONS - 1);
    assert!(newest.all(|peer| !is_closed(peer)));

    // Who comes then is heard, and who sends without end is closed as ever.
    let mut late = connect(&endpoint, "PUSH");
    for peer in [&mut honest, &mut late] {
        peer.write_all(&message).unwrap();
        assert_eq!(bench.next_size(), 2_000);
    }
    let closed = bench.closed();
    send_until_closed(&mut connect(&endpoint, "PUSH"), &frame(&[0; 60_000], true));
    // The newcomer took a place, and lost it again.
    bench.await_closed(closed + 2);
}

#[test]
fn subscribers_stay_when_silent_peers_are_too_many() {
    const MAX_CONNECTIONS: usize = 20;
    let mut socket = PublishSocket::bind(&PublishOptions {
        endpoint: "tcp://127.0.0.1:*".into(),
        max_connections: MAX_CONNECTIONS,
        ..PublishOptions::default()
    })
    .unwrap();
    let (_waker, calls) = Waker::pair().unwrap();
    let subscriber = zmq::Context::new().socket(zmq::SUB).unwrap();
    subscriber.set_rcvtimeo(20_000).unwrap();
    subscriber.set_subscribe(b"").unwrap();
    subscriber.connect(socket.endpoint()).unwrap();
    let started = Instant::now();
    while socket.next_subscription().unwrap().is_none() {
        assert!(started.elapsed() < PATIENCE);
        socket.wait(&calls, Duration::from_millis(10)).unwrap();
    }
    let mut silent: Vec<_> = (0..100)
        .map(|_| connect(socket.endpoint(), "SUB"))
        .collect();
    let started = Instant::now();
    while !silent.iter_mut().take(81).all(is_closed) {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    // It would tell if nobody were left.
    assert_eq!(socket.next_subscription().unwrap(), None);
    socket.send(&[bytes::Bytes::from("event")]).unwrap();
    assert_eq!(subscriber.recv_msg(0).unwrap().as_str(), Some("event"));
}

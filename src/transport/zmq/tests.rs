use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use zeromq::{Socket as _, SocketSend as _};

use super::*;
use bytes::Bytes;

fn intake(max_message_bytes: usize) -> (Intake, Receiver<Incoming>) {
    let (sender, received) = sync_channel(1000);
    let options = IntakeOptions {
        endpoint: "tcp://127.0.0.1:*".into(),
        max_message_bytes,
        max_frames: 4,
        ..IntakeOptions::default()
    };
    let socket = IntakeSocket::bind(&options).unwrap();
    let intake = Intake::start(
        socket,
        || false,
        move |batch| {
            assert!(!batch.is_empty());
            for incoming in batch {
                sender.send(incoming).unwrap();
            }
        },
    );
    (intake.unwrap(), received)
}

fn push_to(endpoint: &str) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::PUSH).unwrap();
    socket.connect(endpoint).unwrap();
    socket
}

fn next(received: &Receiver<Incoming>) -> Incoming {
    received.recv_timeout(Duration::from_secs(20)).unwrap()
}

fn next_message(received: &Receiver<Incoming>) -> Vec<Bytes> {
    match next(received) {
        Incoming::Message(frames) => frames,
        refused => panic!("{refused:?}"),
    }
}

#[test]
fn messages_arrive_whole_and_in_order() {
    let (intake, received) = intake(1 << 20);
    let peer = push_to(intake.endpoint());
    for number in 0_u32..300 {
        let audio = vec![number as u8; 3000];
        peer.send_multipart([number.to_string().into_bytes(), audio, Vec::new()], 0)
            .unwrap();
    }
    for number in 0_u32..300 {
        let frames = next_message(&received);
        assert_eq!(frames.len(), 3);
        assert_eq!(frames[0], number.to_string());
        assert_eq!(frames[1], vec![number as u8; 3000]);
        assert!(frames[2].is_empty());
    }
}

#[test]
fn what_has_arrived_is_taken_before_the_socket_is_closed() {
    let (sender, received) = sync_channel(1000);
    let (release, held) = sync_channel::<()>(0);
    let options = IntakeOptions {
        endpoint: "tcp://127.0.0.1:*".into(),
        ..IntakeOptions::default()
    };
    let socket = IntakeSocket::bind(&options).unwrap();
    let intake = Intake::start(
        socket,
        || false,
        move |batch| {
            for incoming in batch {
                sender.send(incoming).unwrap();
            }
            // Waits while the test holds the other end.
            held.recv().unwrap_or_default();
        },
    );
    let intake = intake.unwrap();
    let peer = push_to(intake.endpoint());
    peer.send("0", 0).unwrap();
    assert_eq!(next_message(&received), ["0"]);
    for number in 1..50 {
        peer.send(&number.to_string(), 0).unwrap();
    }
    // Returns when the network has them all.
    drop(peer);
    let stopping = std::thread::spawn(move || intake.stop());
    std::thread::sleep(Duration::from_millis(100));
    drop(release);
    stopping.join().unwrap();
    assert_eq!(received.iter().count(), 49);
}

#[tokio::test]
async fn an_independent_implementation_is_understood() {
    let (intake, received) = intake(1 << 20);
    let mut peer = zeromq::PushSocket::new();
    peer.connect(intake.endpoint()).await.unwrap();
    let mut message = zeromq::ZmqMessage::from("{}");
    message.push_back(Bytes::from_static(b"audio"));
    peer.send(message).await.unwrap();
    let frames = tokio::task::spawn_blocking(move || next_message(&received));
    assert_eq!(frames.await.unwrap(), ["{}", "audio"]);
}

#[test]
fn what_is_too_large_is_reported_and_not_kept() {
    let (intake, received) = intake(10_000);
    let peer = push_to(intake.endpoint());
    peer.send_multipart([&b"five frames"[..], b"2", b"3", b"4", b"5"], 0)
        .unwrap();
    peer.send_multipart([&b"many bytes"[..], &[0; 9_000], &[0; 9_000]], 0)
        .unwrap();
    peer.send_multipart([&b"fits"[..], &[0; 9_000]], 0).unwrap();
    let Incoming::TooLarge {
        head,
        frames,
        bytes,
    } = next(&received)
    else {
        panic!("five frames were taken");
    };
    assert_eq!(
        (head.unwrap(), frames, bytes),
        (Bytes::from("five frames"), 5, 15)
    );
    let Incoming::TooLarge {
        head,
        frames,
        bytes,
    } = next(&received)
    else {
        panic!("18 kB were taken");
    };
    assert_eq!(
        (head.unwrap(), frames, bytes),
        (Bytes::from("many bytes"), 3, 18_010)
    );
    assert_eq!(next_message(&received)[0], "fits");
}

#[test]
fn a_giant_frame_costs_its_sender_the_connection_and_nobody_else() {
    let (intake, received) = intake(10_000);
    let giant = push_to(intake.endpoint());
    giant.send(vec![0; 10_001], 0).unwrap();
    let peer = push_to(intake.endpoint());
    peer.send("fits", 0).unwrap();
    assert_eq!(next_message(&received), ["fits"]);
    // The sender reconnects, and is heard when it behaves. What it sends before it knows that it was
    // cut off is lost, so it repeats itself.
    let heard = (0..200).any(|_| {
        giant.send("fits now", zmq::DONTWAIT).unwrap_or_default();
        received.recv_timeout(Duration::from_millis(100)).is_ok()
    });
    assert!(heard);
}

#[test]
fn an_endpoint_that_cannot_be_bound_is_named() {
    let (intake, _received) = intake(1000);
    let publish = |endpoint: &str| {
        let options = PublishOptions {
            endpoint: endpoint.into(),
            ..PublishOptions::default()
        };
        PublishSocket::bind(&options)
    };
    for endpoint in [
        intake.endpoint(),
        "tcp://no such host:1",
        "nonsense",
        "tcp://\0:1",
    ] {
        let error = publish(endpoint).err().unwrap();
        assert!(matches!(error, TransportError::Bind { endpoint: named, .. } if named == endpoint));
    }
    // A closed socket frees its port at once.
    let endpoint = intake.endpoint().to_owned();
    intake.stop();
    publish(&endpoint).unwrap();
}

/// Waits until the socket has news of a subscriber.
fn await_subscription(socket: &PublishSocket, calls: &WakeReceiver) -> Subscription {
    let patience = Duration::from_secs(30);
    let started = Instant::now();
    while started.elapsed() < patience {
        if let Some(change) = socket.next_subscription().unwrap() {
            return change;
        }
        socket.wait(calls, Duration::from_millis(500)).unwrap();
    }
    panic!("no news of a subscriber within {patience:?}");
}

fn subscribe_to(endpoint: &str, prefix: &[u8]) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::SUB).unwrap();
    socket.set_rcvhwm(1).unwrap();
    socket.set_rcvbuf(4096).unwrap();
    socket.set_rcvtimeo(20_000).unwrap();
    socket.connect(endpoint).unwrap();
    socket.set_subscribe(prefix).unwrap();
    socket
}

fn publisher(stall_limit: Duration) -> (PublishSocket, WakeReceiver, Waker) {
    let options = PublishOptions {
        endpoint: "tcp://127.0.0.1:*".into(),
        send_queue_length: 4,
        stall_limit,
        ..PublishOptions::default()
    };
    let (waker, calls) = Waker::pair().unwrap();
    (PublishSocket::bind(&options).unwrap(), calls, waker)
}

fn event(number: usize) -> [Bytes; 2] {
    [
        Bytes::from(number.to_string()),
        Bytes::from(vec![0; 100_000]),
    ]
}

/// Sends events until a subscriber takes no more; returns how many it took.
fn fill(socket: &mut PublishSocket) -> usize {
    let mut sent = 0;
    while socket.send(&event(sent)).unwrap() == SendOutcome::Sent {
        sent += 1;
        assert!(
            sent < 5_000,
            "500 MB were taken for a subscriber that reads nothing"
        );
    }
    sent
}

#[test]
fn a_subscriber_that_takes_nothing_is_disconnected_in_the_end() {
    let (mut socket, calls, _waker) = publisher(Duration::from_secs(1));
    let _stalled = subscribe_to(socket.endpoint(), b"");
    assert_eq!(await_subscription(&socket, &calls), Subscription::Added);
    fill(&mut socket);
    assert_eq!(await_subscription(&socket, &calls), Subscription::Gone);
}

#[test]
fn a_stalled_subscriber_pushes_back_and_misses_nothing() {
    let (mut socket, calls, _waker) = publisher(Duration::from_secs(120));
    let subscriber = subscribe_to(socket.endpoint(), b"");
    assert_eq!(await_subscription(&socket, &calls), Subscription::Added);
    let sent = fill(&mut socket);
    let reader = std::thread::spawn(move || {
        let numbers = (0..sent + 20).map(|_| {
            let frames = subscriber.recv_multipart(0).unwrap();
            assert_eq!(frames[1].len(), 100_000);
            String::from_utf8_lossy(&frames[0])
                .parse::<usize>()
                .unwrap()
        });
        numbers.collect::<Vec<_>>()
    });
    for number in sent..sent + 20 {
        while socket.send(&event(number)).unwrap() == SendOutcome::QueueFull {
            socket.wait(&calls, Duration::from_millis(5)).unwrap();
        }
    }
    assert_eq!(reader.join().unwrap(), (0..sent + 20).collect::<Vec<_>>());
}

#[test]
fn what_libzmq_holds_is_bounded_by_bytes_and_shared_by_subscribers() {
    const BUFFER_BYTES: usize = 64 << 20;
    let options = PublishOptions {
        endpoint: "tcp://127.0.0.1:*".into(),
        buffer_bytes: BUFFER_BYTES,
        ..PublishOptions::default()
    };
    let mut socket = PublishSocket::bind(&options).unwrap();
    let (_waker, calls) = Waker::pair().unwrap();
    let mut subscribers = Vec::new();
    for _ in 0..3 {
        subscribers.push(subscribe_to(socket.endpoint(), b""));
        assert_eq!(await_subscription(&socket, &calls), Subscription::Added);
    }
    let large = Bytes::from(vec![7; 10_000_000]);
    let event = |number: usize| [Bytes::from(number.to_string()), large.clone()];
    let mut sent = 0;
    while socket.send(&event(sent)).unwrap() == SendOutcome::Sent {
        sent += 1;
        assert!(socket.held_bytes() <= BUFFER_BYTES);
        // What the system's own buffers take is sent for good.
        assert!(
            sent < 50,
            "500 MB were taken for subscribers that read nothing"
        );
    }
    assert!(socket.held_bytes() > BUFFER_BYTES - 11_000_000);

    let readers = subscribers.into_iter().map(|subscriber| {
        std::thread::spawn(move || {
            for number in 0..sent + 5 {
                let frames = subscriber.recv_multipart(0).unwrap();
                assert_eq!(frames[0], number.to_string().into_bytes());
                assert_eq!(frames[1].len(), 10_000_000);
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for number in sent..sent + 5 {
        while socket.send(&event(number)).unwrap() == SendOutcome::QueueFull {
            socket.wait(&calls, Duration::from_millis(5)).unwrap();
        }
    }
    for reader in readers {
        reader.join().unwrap();
    }
    let emptied = (0..2_000).any(|_| {
        socket.wait(&calls, Duration::from_millis(10)).unwrap();
        socket.held_bytes() == 0
    });
    assert!(
        emptied,
        "{} bytes are held of what all have",
        socket.held_bytes()
    );
}

#[test]
fn an_event_that_is_larger_than_the_bound_passes_alone() {
    let options = PublishOptions {
        endpoint: "tcp://127.0.0.1:*".into(),
        buffer_bytes: 1,
        ..PublishOptions::default()
    };
    let mut socket = PublishSocket::bind(&options).unwrap();
    let (_waker, calls) = Waker::pair().unwrap();
    // Nobody gets it, and nothing is held.
    assert_eq!(socket.send(&event(0)).unwrap(), SendOutcome::Sent);
    assert_eq!(socket.held_bytes(), 0);
    let subscriber = subscribe_to(socket.endpoint(), b"");
    assert_eq!(await_subscription(&socket, &calls), Subscription::Added);
    for number in 1..20 {
        while socket.send(&event(number)).unwrap() == SendOutcome::QueueFull {
            socket.wait(&calls, Duration::from_millis(5)).unwrap();
        }
        let frames = subscriber.recv_multipart(0).unwrap();
        assert_eq!(frames[0], number.to_string().into_bytes());
    }
    drop(socket);
}

#[test]
fn every_subscriber_to_everything_is_seen_and_the_last_one_is_missed() {
    let (socket, calls, _waker) = publisher(Duration::from_secs(120));
    let filter = subscribe_to(socket.endpoint(), b"{\"type\":\"pong\"");
    let first = subscribe_to(socket.endpoint(), b"");
    assert_eq!(await_subscription(&socket, &calls), Subscription::Added);
    let second = subscribe_to(socket.endpoint(), b"");
    assert_eq!(await_subscription(&socket, &calls), Subscription::Added);
    drop(first);
    drop(filter);
    drop(second);
    assert_eq!(await_subscription(&socket, &calls), Subscription::Gone);
}

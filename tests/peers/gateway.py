#!/usr/bin/env python3
"""A gateway as the daemon sees it: PUSH and SUB sockets of libzmq, driven over standard input.

Each input line is a JSON object:
    {"send": ["<base64 frame>", ...]}   pushes one message
    {"unsubscribe": true}               closes the SUB socket
    {"subscribe": true}                 opens it again
Each output line is one event: ["<base64 frame>", ...]. The first line is "ready".
"""

import base64
import json
import sys

import zmq


def open_subscription(context: zmq.Context, port: str) -> zmq.Socket:
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(f"tcp://127.0.0.1:{port}")
    return socket


def main() -> None:
    push_port, sub_port = sys.argv[1:3]
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.connect(f"tcp://127.0.0.1:{push_port}")
    subscription = open_subscription(context, sub_port)
    commands = sys.stdin.buffer
    print("ready", flush=True)
    poller = zmq.Poller()
    poller.register(commands.fileno(), zmq.POLLIN)
    poller.register(subscription, zmq.POLLIN)
    pending = []  # a large line comes in many chunks: they are joined once
    while True:
        ready = dict(poller.poll())
        if commands.fileno() in ready:
            chunk = commands.raw.read(1 << 20)
            if not chunk:
                break
            pending.append(chunk)
            if b"\n" not in chunk:
                continue
            *lines, rest = b"".join(pending).split(b"\n")
            pending = [rest]
            for line in lines:
                command = json.loads(line)
                if "send" in command:
                    push.send_multipart([base64.b64decode(frame) for frame in command["send"]])
                elif "unsubscribe" in command and subscription:
                    poller.unregister(subscription)
                    subscription.close(0)
                    subscription = None
                elif "subscribe" in command and not subscription:
                    subscription = open_subscription(context, sub_port)
                    poller.register(subscription, zmq.POLLIN)
        if subscription in ready:
            frames = subscription.recv_multipart()
            print(json.dumps([base64.b64encode(frame).decode() for frame in frames]), flush=True)
    context.destroy(linger=0)


if __name__ == "__main__":
    main()

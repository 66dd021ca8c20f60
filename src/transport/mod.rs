//! How frames get in and out. What they mean is not known here.

pub mod zmq;

//! The heads of a form's parts, which its reader holds as a whole: they are bounded here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::extract::multipart::MultipartError;
use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};

use super::broken;
use crate::http::error::ApiError;

/// What a part may have before its content.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Bounds what comes of a part before its content, which the reader of the form holds as a whole.
#[derive(Default)]
pub(super) struct PartHead {
    /// True while the reader looks for the next part.
    is_read: AtomicBool,
    /// What it was given meanwhile, content that came with the head included.
    bytes: AtomicUsize,
    /// True once it was to look at what it has.
    is_full: AtomicBool,
}

impl PartHead {
    /// A request whose body breaks off when a head is too long.
    pub(super) fn bound(self: &Arc<Self>, request: Request) -> Request {
        let head = Arc::clone(self);
        request.map(|body| {
            let mut pieces = body.into_data_stream();
            Body::from_stream(stream::poll_fn(move |context| {
                head.poll(&mut pieces, context)
            }))
        })
    }

    /// The next piece. The reader takes whatever is there before it looks for the end of the head: so it gets nothing
    /// more for the moment when it has enough, and an error if that was not the end.
    fn poll(
        &self,
        pieces: &mut BodyDataStream,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        if self.is_too_long() {
            if self.is_full.swap(true, Ordering::Relaxed) {
                let error = io::Error::other("the head of a part is too long");
                return Poll::Ready(Some(Err(error)));
            }
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = ready!(pieces.poll_next_unpin(context));
        if let Some(Ok(piece)) = &piece {
            self.bytes.fetch_add(piece.len(), Ordering::Relaxed);
        }
        Poll::Ready(piece.map(|piece| piece.map_err(io::Error::other)))
    }

    fn is_too_long(&self) -> bool {
        self.is_read.load(Ordering::Relaxed) && self.bytes.load(Ordering::Relaxed) >= MAX_HEAD_BYTES
    }

    /// Looks for the next part.
    pub(super) async fn read<T>(
        &self,
        next: impl Future<Output = Result<T, MultipartError>>,
    ) -> Result<T, ApiError> {
        self.bytes.store(0, Ordering::Relaxed);
        self.is_full.store(false, Ordering::Relaxed);
        self.is_read.store(true, Ordering::Relaxed);
        let read = next.await;
        let is_too_long = self.is_too_long();
        self.is_read.store(false, Ordering::Relaxed);
        read.map_err(|error| {
            if is_too_long {
                let detail = format!("The head of a part has at most {MAX_HEAD_BYTES} bytes");
                return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail);
            }
            broken(error)
        })
    }
}

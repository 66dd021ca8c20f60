//! The payloads that a row refers to: its binary frames, and what is too large for the row itself.

use rusqlite::{Connection, params};

use super::blobs::blob_ref;
use super::{BlobRef, LedgerError};

/// Where what is too large for the row lies among its frames.
const ROW_POSITION: i64 = -1;

/// The table with the frames of one kind of row.
pub(super) struct FrameTable {
    name: &'static str,
    /// The column that names the row.
    row: &'static str,
}

/// The frames of requests.
pub(super) const JOB_FRAMES: FrameTable = FrameTable {
    name: "job_frames",
    row: "job_id",
};

/// The frames of events.
pub(super) const EVENT_FRAMES: FrameTable = FrameTable {
    name: "event_frames",
    row: "event_id",
};

/// Payloads of one row, each with its position.
#[derive(Default)]
pub(super) struct Payloads(Vec<(i64, BlobRef)>);

impl Payloads {
    /// What is too large for the row, if it is, and the frames in their order.
    pub(super) fn new(of_row: Option<&BlobRef>, frames: &[BlobRef]) -> Self {
        let of_row = of_row.map(|payload| (ROW_POSITION, payload.clone()));
        let frames = (0..).zip(frames.iter().cloned());
        Self(of_row.into_iter().chain(frames).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(i64, BlobRef)> {
        self.0.iter()
    }

    /// Bytes of all of them.
    pub(super) fn size_bytes(&self) -> u64 {
        self.iter().map(|(_, payload)| payload.size_bytes).sum()
    }

    /// What is too large for the row, if it is, and the frames in their order.
    pub(super) fn split(self) -> (Option<BlobRef>, Vec<BlobRef>) {
        let (mut of_row, mut frames) = (None, Vec::new());
        for (position, payload) in self.0 {
            if position == ROW_POSITION {
                of_row = Some(payload);
            } else {
                frames.push(payload);
            }
        }
        (of_row, frames)
    }
}

impl FrameTable {
    pub(super) fn store(
        &self,
        connection: &Connection,
        row_id: i64,
        payloads: &Payloads,
    ) -> Result<(), LedgerError> {
        let Self { name, row } = self;
        let mut insert = connection.prepare_cached(&format!(
            "INSERT INTO {name} ({row}, position, sha256, size_bytes) VALUES (?1, ?2, ?3, ?4)"
        ))?;
        for (position, payload) in payloads.iter() {
            insert.execute(params![
                row_id,
                position,
                payload.sha256,
                payload.size_bytes as i64
            ])?;
        }
        Ok(())
    }

    pub(super) fn load(
        &self,
        connection: &Connection,
        row_id: i64,
    ) -> Result<Payloads, LedgerError> {
        let Self { name, row } = self;
        let mut select = connection.prepare_cached(&format!(
            "SELECT position, sha256, size_bytes FROM {name} WHERE {row} = ?1 ORDER BY position"
        ))?;
        let payloads = select.query_map([row_id], |row| Ok((row.get(0)?, blob_ref(row, 1)?)))?;
        Ok(Payloads(payloads.collect::<Result<_, _>>()?))
    }
}

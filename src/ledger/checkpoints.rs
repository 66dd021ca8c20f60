//! Statements on what the stages of jobs have left.

use rusqlite::{Connection, Row, params};

use super::blobs::optional_blob_ref;
use super::jobs::require_unfinished;
use super::records::{Checkpoint, JobId};
use super::{LedgerError, digest};

pub(super) fn store(
    connection: &Connection,
    job_id: JobId,
    checkpoint: &Checkpoint,
) -> Result<(), LedgerError> {
    require_unfinished(connection, job_id)?;
    let blob = checkpoint.blob.as_ref();
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO checkpoints (job_id, stage, item, payload, sha256, size_bytes,
                                                 digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            job_id,
            checkpoint.stage,
            checkpoint.item,
            checkpoint.payload,
            blob.map(|blob| &blob.sha256),
            blob.map(|blob| blob.size_bytes as i64),
            digest_of(job_id, checkpoint)
        ])?;
    Ok(())
}

/// Gives checkpoints without a digest theirs.
pub(super) fn fill_digests(connection: &Connection) -> Result<(), LedgerError> {
    let mut select = connection.prepare(
        "SELECT stage, item, payload, sha256, size_bytes, job_id FROM checkpoints
         WHERE digest IS NULL",
    )?;
    let found: Vec<(JobId, Checkpoint)> = select
        .query_map([], |row| Ok((row.get(5)?, checkpoint_of(row)?)))?
        .collect::<Result<_, _>>()?;
    let mut update = connection.prepare(
        "UPDATE checkpoints SET digest = ?4 WHERE job_id = ?1 AND stage = ?2 AND item = ?3",
    )?;
    for (job_id, checkpoint) in found {
        let digest = digest_of(job_id, &checkpoint);
        update.execute(params![job_id, checkpoint.stage, checkpoint.item, digest])?;
    }
    Ok(())
}

/// Reads the columns `stage, item, payload, sha256, size_bytes`.
fn checkpoint_of(row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
    Ok(Checkpoint {
        stage: row.get(0)?,
        item: row.get(1)?,
        payload: row.get(2)?,
        blob: optional_blob_ref(row, 3)?,
    })
}

fn digest_of(job_id: JobId, checkpoint: &Checkpoint) -> String {
    let blob = checkpoint.blob.as_ref();
    digest::of_columns(&[
        &job_id.0.to_le_bytes(),
        checkpoint.stage.as_bytes(),
        checkpoint.item.as_bytes(),
        checkpoint.payload.expose(),
        blob.map_or("", |blob| &blob.sha256).as_bytes(),
    ])
}

/// The checkpoints that hold what was stored, and how many do not.
pub(super) fn load(
    connection: &Connection,
    job_id: JobId,
) -> Result<(Vec<Checkpoint>, u64), LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT stage, item, payload, sha256, size_bytes, digest FROM checkpoints
         WHERE job_id = ?1",
    )?;
    let read = |row: &Row<'_>| {
        let checkpoint = checkpoint_of(row)?;
        let digest: Option<String> = row.get(5)?;
        let is_intact = digest::is_intact(digest.as_deref(), || digest_of(job_id, &checkpoint));
        Ok(is_intact.then_some(checkpoint))
    };
    let mut rows = statement.query([job_id])?;
    let (mut intact, mut damaged) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(Some(checkpoint)) => intact.push(checkpoint),
            Ok(None) => damaged += 1,
            Err(error) if LedgerError::is_content(&error) => damaged += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((intact, damaged))
}

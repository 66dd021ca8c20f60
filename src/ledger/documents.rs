//! Statements on writes that wait for the document store.

use rusqlite::{Connection, params};

use super::LedgerError;
use super::records::{DocumentOutcome, DocumentWrite, JobId, PendingDocument};

pub(super) fn store(
    connection: &Connection,
    job_id: JobId,
    documents: &[DocumentWrite],
) -> Result<(), LedgerError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO documents (job_id, order_key, collection, filter, document)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?;
    for write in documents {
        insert.execute(params![
            job_id,
            write.order_key,
            write.collection,
            write.filter,
            write.document
        ])?;
    }
    Ok(())
}

pub(super) fn pending(
    connection: &Connection,
    limit: u32,
    now_ms: i64,
) -> Result<Vec<PendingDocument>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, job_id, attempts, order_key, collection, filter, document
         FROM documents AS candidate
         WHERE state = 'pending' AND next_attempt_at_ms <= ?2
           AND NOT EXISTS (SELECT 1 FROM documents AS earlier
                           WHERE earlier.state = 'pending'
                             AND earlier.order_key = candidate.order_key
                             AND earlier.id < candidate.id)
         ORDER BY id LIMIT ?1",
    )?;
    let documents = statement.query_map(params![limit, now_ms], |row| {
        Ok(PendingDocument {
            id: row.get(0)?,
            job_id: row.get(1)?,
            attempts: row.get(2)?,
            write: DocumentWrite {
                order_key: row.get(3)?,
                collection: row.get(4)?,
                filter: row.get(5)?,
                document: row.get(6)?,
            },
        })
    })?;
    Ok(documents.collect::<Result<_, _>>()?)
}

pub(super) fn mark(
    connection: &Connection,
    document_id: i64,
    outcome: DocumentOutcome,
) -> Result<(), LedgerError> {
    let (state, next_attempt_at_ms) = match outcome {
        DocumentOutcome::Done => ("done", 0),
        DocumentOutcome::Skipped => ("skipped", 0),
        DocumentOutcome::RetryAt { at_ms } => ("pending", at_ms),
    };
    connection
        .prepare_cached(
            "UPDATE documents SET state = ?2, next_attempt_at_ms = ?3, attempts = attempts + 1
             WHERE id = ?1",
        )?
        .execute(params![document_id, state, next_attempt_at_ms])?;
    Ok(())
}

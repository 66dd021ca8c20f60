//! Statements on writes that wait for the document store.

use rusqlite::{Connection, Row, params};

use super::records::{DocumentOutcome, DocumentWrite, JobId, PendingDocument};
use super::{Ledger, LedgerError, count_damage, digest};

impl Ledger {
    /// Document writes that may be tried now, oldest first. Of writes with one order key only the
    /// oldest that waits is given.
    ///
    /// # Errors
    /// The database fails.
    pub async fn pending_documents(
        &self,
        limit: u32,
        now_ms: i64,
    ) -> Result<Vec<PendingDocument>, LedgerError> {
        let read = self.read(move |connection| pending(connection, limit, now_ms));
        let (intact, damaged) = read.await?;
        for document_id in damaged {
            // It must not hold up the later writes of its key.
            tracing::error!(
                document.id = document_id,
                "a document is damaged, it is not written"
            );
            count_damage("document", 1);
            self.mark_document(document_id, DocumentOutcome::Skipped)
                .await?;
        }
        Ok(intact)
    }

    /// Notes what became of a try to write a document.
    ///
    /// # Errors
    /// The database fails.
    pub async fn mark_document(
        &self,
        document_id: i64,
        outcome: DocumentOutcome,
    ) -> Result<(), LedgerError> {
        self.write(move |connection| mark(connection, document_id, outcome))
            .await
    }
}

pub(super) fn store(
    connection: &Connection,
    job_id: JobId,
    documents: &[DocumentWrite],
) -> Result<(), LedgerError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO documents (job_id, order_key, collection, filter, document, digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    )?;
    for write in documents {
        insert.execute(params![
            job_id,
            write.order_key,
            write.collection,
            write.filter,
            write.document,
            write_digest(write)
        ])?;
    }
    Ok(())
}

fn write_digest(write: &DocumentWrite) -> String {
    digest::of_columns(&[
        write.order_key.as_bytes(),
        write.collection.as_bytes(),
        write.filter.as_bytes(),
        write.document.expose().as_bytes(),
    ])
}

/// Gives writes without a digest theirs.
pub(super) fn fill_digests(connection: &Connection) -> Result<(), LedgerError> {
    let mut select = connection.prepare(
        "SELECT order_key, collection, filter, document, id FROM documents WHERE digest IS NULL",
    )?;
    let found: Vec<(i64, DocumentWrite)> = select
        .query_map([], |row| Ok((row.get(4)?, write_of(row, 0)?)))?
        .collect::<Result<_, _>>()?;
    let mut update = connection.prepare("UPDATE documents SET digest = ?2 WHERE id = ?1")?;
    for (document_id, write) in found {
        update.execute(params![document_id, write_digest(&write)])?;
    }
    Ok(())
}

/// Reads the columns `order_key, collection, filter, document` that begin at `column`.
fn write_of(row: &Row<'_>, column: usize) -> rusqlite::Result<DocumentWrite> {
    Ok(DocumentWrite {
        order_key: row.get(column)?,
        collection: row.get(column + 1)?,
        filter: row.get(column + 2)?,
        document: row.get(column + 3)?,
    })
}

/// Writes that may be tried now, and the ids of those that are not what was stored.
fn pending(
    connection: &Connection,
    limit: u32,
    now_ms: i64,
) -> Result<(Vec<PendingDocument>, Vec<i64>), LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, job_id, attempts, order_key, collection, filter, document, digest
         FROM documents AS candidate
         WHERE state = 'pending' AND next_attempt_at_ms <= ?2
           AND NOT EXISTS (SELECT 1 FROM documents AS earlier
                           WHERE earlier.state = 'pending'
                             AND earlier.order_key = candidate.order_key
                             AND earlier.id < candidate.id)
         ORDER BY id LIMIT ?1",
    )?;
    let read = |row: &Row<'_>| {
        let document = PendingDocument {
            id: row.get(0)?,
            job_id: row.get(1)?,
            attempts: row.get(2)?,
            write: write_of(row, 3)?,
        };
        let digest: Option<String> = row.get(7)?;
        let is_intact = digest::is_intact(digest.as_deref(), || write_digest(&document.write));
        Ok(is_intact.then_some(document))
    };
    let mut rows = statement.query(params![limit, now_ms])?;
    let (mut documents, mut damaged) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(Some(document)) => documents.push(document),
            Ok(None) => damaged.push(row.get(0)?),
            Err(error) if LedgerError::is_content(&error) => damaged.push(row.get(0)?),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((documents, damaged))
}

fn mark(
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

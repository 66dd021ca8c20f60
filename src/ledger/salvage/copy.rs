//! A copy of a damaged database that SQLite opens: what is known of all our databases is put right.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use rusqlite::{Connection, Row, params};

use super::super::wal::{PAGE_BYTES, Wal};
use super::super::{LedgerError, io_error, schema};

/// Length of the header of a database.
const HEADER_BYTES: usize = 100;

/// Copies a damaged database with the pages of its write-ahead log and mends the copy.
///
/// # Errors
/// The disk fails.
pub(super) fn make_readable(
    database: &Path,
    wal: Option<&Wal>,
    copy: &Path,
) -> Result<(), LedgerError> {
    copy_pages(database, wal, copy).map_err(|source| io_error(copy, source))?;
    match mend_definitions(copy) {
        // Without definitions no row could be read.
        Err(error) if error.storage_fault().is_some() => Err(error),
        // What cannot be mended is found when rows are read.
        Err(error) => {
            tracing::warn!(%error, "the tables' definitions could not be mended");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn copy_pages(database: &Path, wal: Option<&Wal>, copy: &Path) -> io::Result<()> {
    std::fs::copy(database, copy)?;
    let mut file = OpenOptions::new().read(true).write(true).open(copy)?;
    if let Some(wal) = wal {
        wal.apply(&mut file)?;
    }
    mend_header(&mut file)
}

/// Writes the header as our databases have it (<https://www.sqlite.org/fileformat2.html#the_database_header>).
fn mend_header(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length < HEADER_BYTES as u64 {
        return Ok(());
    }
    let pages = length.div_ceil(PAGE_BYTES as u64);
    file.set_len(pages * PAGE_BYTES as u64)?;
    let mut header = [0; HEADER_BYTES];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut header)?;
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"SQLite format 3\0");
    put(16, &(PAGE_BYTES as u16).to_be_bytes());
    // A rollback journal instead of a write-ahead log; no reserved bytes; fixed payload fractions.
    put(18, &[1, 1, 0, 64, 32, 32]);
    // The size that follows is valid when the change counters at 24 and 92 are equal.
    put(24, &1_u32.to_be_bytes());
    put(28, &(pages as u32).to_be_bytes());
    // No free pages: they are not to be read.
    put(32, &[0; 8]);
    put(44, &4_u32.to_be_bytes());
    // The copy need not be able to shrink.
    put(52, &[0; 4]);
    put(64, &[0; 4]);
    // UTF-8.
    put(56, &1_u32.to_be_bytes());
    put(72, &[0; 20]);
    put(92, &1_u32.to_be_bytes());
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header)?;
    file.sync_all()
}

/// A row of the table of tables.
struct Definition {
    kind: String,
    name: String,
    table: String,
    root_page: i64,
    sql: String,
}

/// Writes the table of tables anew. Its statements are known; where each table begins is read, or taken
/// from an empty database: one that can shrink keeps all beginnings in front, in the order of their making.
fn mend_definitions(copy: &Path) -> Result<(), LedgerError> {
    let found = definitions_of_damaged(copy);
    let mut best = (0, Vec::new());
    for version in 0..=schema::MIGRATIONS.len() {
        let known = definitions(&schema::template(version)?)?;
        let alike = |definition: &&Definition| {
            let mut found = found.iter();
            found.any(|row| row.name == definition.name && row.sql == definition.sql)
        };
        let count = known.iter().filter(alike).count();
        if count >= best.0 {
            best = (count, known);
        }
    }
    empty_first_page(copy).map_err(|source| io_error(copy, source))?;
    let connection = Connection::open(copy)?;
    connection.pragma_update(None, "writable_schema", true)?;
    let mut insert = connection.prepare(
        "INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for known in best.1 {
        // Damaged indexes would be in the way of reading tables; one tells which jobs there were.
        if known.kind != "table" && known.name != "jobs_by_state" {
            continue;
        }
        let as_found = found.iter().find(|row| row.name == known.name);
        let root_page = as_found.map_or(known.root_page, |row| row.root_page);
        insert.execute(params![
            known.kind,
            known.name,
            known.table,
            root_page,
            known.sql
        ])?;
    }
    Ok(())
}

/// What can be read of the table of tables.
fn definitions_of_damaged(copy: &Path) -> Vec<Definition> {
    let read = || -> rusqlite::Result<Vec<Definition>> {
        let connection = Connection::open(copy)?;
        // Definitions that cannot be parsed are no reason to refuse everything.
        connection.pragma_update(None, "writable_schema", true)?;
        let mut found = Vec::new();
        for order in ["ASC", "DESC"] {
            let mut statement = connection.prepare(&format!(
                "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema
                 ORDER BY rowid {order}"
            ))?;
            let mut rows = statement.query([])?;
            while let Ok(Some(row)) = rows.next() {
                found.extend(definition(row).ok());
            }
        }
        Ok(found)
    };
    read().unwrap_or_else(|error| {
        tracing::warn!(%error, "the tables' definitions cannot be read, they are taken as they are made");
        Vec::new()
    })
}

fn definitions(connection: &Connection) -> Result<Vec<Definition>, LedgerError> {
    Ok(connection
        .prepare(
            "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema
             WHERE sql IS NOT NULL ORDER BY rowid",
        )?
        .query_map([], definition)?
        .collect::<Result<_, _>>()?)
}

fn definition(row: &Row<'_>) -> rusqlite::Result<Definition> {
    Ok(Definition {
        kind: row.get(0)?,
        name: row.get(1)?,
        table: row.get(2)?,
        root_page: row.get(3)?,
        sql: row.get(4)?,
    })
}

/// Makes the first page one without tables: an empty leaf behind the header
/// (<https://www.sqlite.org/fileformat2.html#b_tree_pages>).
fn empty_first_page(copy: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(copy)?;
    file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
    let mut page = [0; PAGE_BYTES - HEADER_BYTES];
    page[0] = 0x0d;
    page[5..7].copy_from_slice(&(PAGE_BYTES as u16).to_be_bytes());
    file.write_all(&page)?;
    file.sync_all()
}

//! A copy of a damaged database that SQLite opens: what is known of all our databases is put right.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use rusqlite::{Connection, params};

use super::super::schema;
use super::super::wal::{PAGE_BYTES, Wal};

/// Length of the header of a database.
const HEADER_BYTES: usize = 100;

/// Copies a damaged database with the pages of its write-ahead log and mends the copy.
pub(super) fn make_readable(database: &Path, wal: Option<&Wal>, copy: &Path) -> io::Result<()> {
    std::fs::copy(database, copy)?;
    let mut file = OpenOptions::new().read(true).write(true).open(copy)?;
    if let Some(wal) = wal {
        wal.apply(&mut file)?;
    }
    mend_header(&mut file)?;
    drop(file);
    // What cannot be mended is found when rows are read.
    if let Err(error) = mend_definitions(copy) {
        tracing::warn!(%error, "the tables' definitions could not be mended");
    }
    Ok(())
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
    rowid: i64,
    name: String,
    sql: Option<String>,
}

/// Puts right the statements that tables were made with: where each lies is all that has to be read.
fn mend_definitions(copy: &Path) -> Result<(), super::LedgerError> {
    let connection = Connection::open(copy)?;
    // Definitions that cannot be parsed are no reason to refuse everything.
    connection.pragma_update(None, "writable_schema", true)?;
    let found: Vec<Definition> = connection
        .prepare("SELECT rowid, type || ' ' || name, sql FROM sqlite_schema WHERE type = 'table'")?
        .query_map([], |row| {
            Ok(Definition {
                rowid: row.get(0)?,
                name: text(row, 1),
                sql: Some(text(row, 2)),
            })
        })?
        .collect::<Result<_, _>>()?;
    let mut best: Option<(usize, BTreeMap<String, String>)> = None;
    for version in 0..=schema::MIGRATIONS.len() {
        let known: BTreeMap<String, String> = schema::structure(&schema::template(version)?)?
            .into_iter()
            .filter(|(name, _)| name.starts_with("table "))
            .collect();
        let alike = found
            .iter()
            .filter(|definition| known.get(&definition.name) == definition.sql.as_ref())
            .count();
        if best.as_ref().is_none_or(|(most, _)| alike > *most) {
            best = Some((alike, known));
        }
    }
    let Some((_, known)) = best else {
        return Ok(());
    };
    let missing: Vec<&String> = known
        .keys()
        .filter(|name| !found.iter().any(|definition| definition.name == **name))
        .collect();
    for definition in &found {
        let name = match known.get_key_value(&definition.name) {
            Some((name, sql)) if Some(sql) != definition.sql.as_ref() => name,
            // A name that is none belongs to the one table that is missing.
            None if !definition.name.contains(" sqlite_") && missing.len() == 1 => missing[0],
            _ => continue,
        };
        let plain = name.trim_start_matches("table ");
        connection.execute(
            "UPDATE sqlite_schema SET name = ?2, tbl_name = ?2, sql = ?3 WHERE rowid = ?1",
            params![definition.rowid, plain, known[name]],
        )?;
    }
    // Damaged indexes, and definitions of them, are in the way of reading tables.
    connection.execute(
        "DELETE FROM sqlite_schema WHERE type <> 'table' AND name <> 'jobs_by_state'
                                     AND name NOT LIKE 'sqlite_autoindex_%'",
        [],
    )?;
    Ok(())
}

fn text(row: &rusqlite::Row<'_>, column: usize) -> String {
    let bytes = row.get_ref(column).ok().and_then(|value| match value {
        rusqlite::types::ValueRef::Text(bytes) => Some(bytes.to_vec()),
        _ => None,
    });
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}
